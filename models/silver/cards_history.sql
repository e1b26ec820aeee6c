-- What silver.cards said, day by day: a record holds from its day to the day before the next that won.

{{ config(materialized='view', tags=['cards']) }}

with records as (

    select * from {{ ref('int_cards_records') }}
    where _outcome in ('inserted', 'updated')

)

select
    card_id,
    card_uuid,
    name,
    user_id,
    user_uuid,
    budget_id,
    budget_uuid,
    last_four,
    valid_thru,
    status,
    type,
    share_budget_funds,
    recurring,
    recurring_limit,
    current_limit,
    current_spent,
    created_time,
    updated_time,
    _day as valid_from,
    lead(_day) over (partition by card_id order by _day) - 1 as valid_to,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
