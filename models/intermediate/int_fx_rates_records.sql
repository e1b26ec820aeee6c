-- Nothing in a rate says when it was written: the later day counts.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['transactions'],
        indexes=[{'columns': ['rate_date', 'currency', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'transactions', 'tables': ['stg_fx_rates']},
    )
}}

with typed as (

    select
        *,
        'stg_fx_rates' as _source_table
    from {{ ref('int_fx_rates_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_fx_rates') }}

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
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
