-- Its record moves with every newer list, also an equal one: memberships name the list they come from.

{{
    config(
        materialized='incremental',
        incremental_strategy='upsert',
        unique_key='group_id',
        on_schema_change='append_new_columns',
        full_refresh=false,
        tags=['groups'],
        indexes=[{'columns': ['group_id'], 'unique': true}],
        meta={
            'pipeline': 'groups',
            'layer': 'intermediate',
            'tables': ['stg_groups'],
            'pending': 'int_group_lists_pending',
            'order': ['_day', 'updated_at'],
            'units': true,
            'always_moves': true,
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_build() }}',
    )
}}

with pending as (

    select * from {{ ref('int_group_lists_pending') }}

),

latest as (

    select * from pending
    where _is_valid and _rank = 1

)

select
    group_id,
    agent_ids,
    updated_at,
    _day,
    _batch_id,
    _source_file,
    _source_row
from latest
