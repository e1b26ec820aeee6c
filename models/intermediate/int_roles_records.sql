{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['roles'],
        indexes=[{'columns': ['role_id', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'roles', 'tables': ['stg_roles']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_roles' as _source_table
    from {{ ref('int_roles_typed') }}
    where {{ is_pending('stg_roles', work) }}

),

judged as (

    {{ judge('typed', key=['role_id'], values=landed_columns('stg_roles') | reject('in', ['role_id']) | list, work=work, last_write='updated_at') }}

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
    clock_timestamp() as _updated_at
from judged
where _is_pending or _outcome <> _outcome_before
