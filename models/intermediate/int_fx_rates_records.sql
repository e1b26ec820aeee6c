-- Nothing in a rate says when it was written: the later day counts.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['transactions'],
        indexes=[{'columns': ['rate_date', 'currency', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'transactions', 'tables': ['stg_fx_rates']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_fx_rates' as _source_table
    from {{ ref('int_fx_rates_typed') }}
    where {{ is_pending('stg_fx_rates', work) }}

),

judged as (

    {{ judge('typed', key=['rate_date', 'currency'], values=landed_columns('stg_fx_rates') | reject('in', ['rate_date', 'currency']) | list, work=work) }}

)

select
    rate_date,
    currency,
    usd_per_unit,
    _outcome,
    _errors,
    _landed,
    _extra,
    _hash,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from judged
where _is_pending or _outcome <> _outcome_before
