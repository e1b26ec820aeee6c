{{ config(alias='fx_rates', tags=['transactions']) }}

with records as (

    select * from {{ ref('int_fx_rates_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'rate_date', rate_date::text) as rate_date,
    coalesce(_landed ->> 'currency', currency::text) as currency,
    coalesce(_landed ->> 'usd_per_unit', usd_per_unit::text) as usd_per_unit,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
