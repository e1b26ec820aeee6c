-- depends_on: {{ ref('quarantine_fx_rates') }}

{{
    config(
        unique_key=['rate_date', 'currency'],
        tags=['transactions'],
        meta={
            'pipeline': 'transactions',
            'tables': ['stg_fx_rates'],
            'pending': 'int_fx_rates_pending',
            'order': [],
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_build() }}',
    )
}}

with pending as (

    select * from {{ ref('int_fx_rates_pending') }}

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
    rate_date,
    currency,
    usd_per_unit,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
