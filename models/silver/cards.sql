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
    {{ column_list('stg_cards') }},
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
