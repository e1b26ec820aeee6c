{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['roles'],
        indexes=[{'columns': ['role_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'roles', 'tables': ['stg_roles']},
    )
}}

with typed as (

    select
        *,
        'stg_roles' as _source_table
    from {{ ref('int_roles_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_roles', last_write='extract(epoch from updated_at)') }}

)

select
    role_id,
    name,
    description,
    is_default,
    agent_type,
    created_at,
    updated_at,
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
