{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['groups'],
        indexes=[{'columns': ['group_id', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'groups', 'tables': ['stg_groups']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_groups' as _source_table
    from {{ ref('int_groups_typed') }}
    where {{ is_pending('stg_groups', work) }}

),

judged as (

    {{ judge('typed', key=['group_id'], values=landed_columns('stg_groups') | reject('in', ['group_id']) | list, work=work, last_write='updated_at') }}

)

select
    group_id,
    name,
    description,
    parent_group_id,
    agent_ids,
    created_at,
    updated_at,
    _member_ids,
    _list_is_malformed,
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
