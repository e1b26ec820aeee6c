{{
    config(
        unique_key='card_id',
        tags=['cards'],
        meta={'pipeline': 'cards', 'tables': ['stg_cards'], 'records': 'int_cards_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_cards_records'), 'card_id') }}

),

latest as (

    select distinct on (card_id) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by card_id, _day desc

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
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
