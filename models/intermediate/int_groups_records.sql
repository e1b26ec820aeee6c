{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['groups'],
        indexes=[{'columns': ['group_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'groups', 'tables': ['stg_groups']},
    )
}}

with typed as (

    select
        *,
        'stg_groups' as _source_table
    from {{ ref('int_groups_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_groups', last_write='extract(epoch from updated_at)') }}

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
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
