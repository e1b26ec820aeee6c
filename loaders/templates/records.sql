{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['$entity'],
        indexes=[{'columns': [$key, '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': '$entity', 'tables': ['stg_$entity']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_$entity' as _source_table
    from {{ ref('int_${entity}_typed') }}
    where {{ is_pending('stg_$entity', work) }}

),

judged as (

    {{ judge('typed', key=[$key], values=landed_columns('stg_$entity') | reject('in', [$key]) | list, work=work$last_write) }}

)

select
$columns
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
