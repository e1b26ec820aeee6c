-- depends_on: {{ ref('quarantine_cards') }}

{{
    config(
        unique_key='card_id',
        tags=['cards'],
        meta={
            'pipeline': 'cards',
            'tables': ['stg_cards'],
            'pending': 'int_cards_pending',
            'order': ['updated_time'],
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_build() }}',
    )
}}

with pending as (

    select * from {{ ref('int_cards_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

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
