-- depends_on: {{ ref('quarantine_groups') }}

{{
    config(
        unique_key='group_id',
        tags=['groups'],
        meta={
            'pipeline': 'groups',
            'tables': ['stg_groups'],
            'pending': 'int_groups_pending',
            'order': ['updated_at'],
            'presence': ['is_present'],
        },
        pre_hook='{{ started() }}',
        post_hook=['{{ account_first_build() }}', '{{ group_presence() }}'],
    )
}}

with pending as (

    select * from {{ ref('int_groups_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

)

select
    group_id,
    name,
    description,
    parent_group_id,
    agent_ids,
    created_at,
    updated_at,
    false as is_present,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
