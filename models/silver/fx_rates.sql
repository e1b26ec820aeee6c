{{
    config(
        unique_key=['rate_date', 'currency'],
        tags=['transactions'],
        meta={'pipeline': 'transactions', 'tables': ['stg_fx_rates'], 'records': 'int_fx_rates_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_fx_rates_records'), 'rate_date, currency') }}

)

select
    rate_date,
    currency,
    usd_per_unit,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from latest
