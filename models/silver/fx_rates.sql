{{
    config(
        unique_key=['rate_date', 'currency'],
        tags=['transactions'],
        meta={'pipeline': 'transactions', 'tables': ['stg_fx_rates'], 'records': 'int_fx_rates_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_fx_rates_records'), 'rate_date, currency') }}

),

latest as (

    select distinct on (rate_date, currency) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by rate_date, currency, _day desc

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
