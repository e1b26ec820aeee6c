{{
    config(
        unique_key=['rate_date', 'currency'],
        tags=['transactions'],
        meta={'pipeline': 'transactions', 'tables': ['stg_fx_rates'], 'records': 'int_fx_rates_records'},
    )
}}

with records as not materialized (

    select * from {{ ref('int_fx_rates_records') }}

),

changed as (

    {{ changed_keys('records', ['rate_date', 'currency'], plan()) }}

),

latest as (

    select winner.*
    from changed
    cross join
        lateral (
            select * from records
            where records.rate_date = changed.rate_date and records.currency = changed.currency
                and records._outcome in ('inserted', 'updated', 'unchanged')
            order by records._day desc
            limit 1
        ) as winner

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
