{{
    config(
        unique_key='card_id',
        tags=['cards'],
        meta={'pipeline': 'cards', 'tables': ['stg_cards'], 'records': 'int_cards_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_cards_records'), 'card_id') }}

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
    statement_timestamp() as _updated_at
from latest
