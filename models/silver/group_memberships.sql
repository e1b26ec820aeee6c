-- The newest snapshot's pairs, worked out whole: an agent that becomes known releases pairs that no
-- new file names.

{{
    config(
        unique_key=['group_id', 'agent_id'],
        tags=['groups'],
        meta={
            'pipeline': 'groups',
            'tables': ['stg_groups', 'stg_group_memberships'],
            'records': 'int_group_memberships_records',
            'whole': true,
            'releases': true,
        },
    )
}}

with groups as (

    select group_id from {{ ref('groups') }}

),

agents as (

    select agent_id from {{ ref('agents') }}

),

group_records as not materialized (

    select * from {{ ref('int_groups_records') }}

),

units as not materialized (

    select * from {{ ref('int_group_memberships_records') }}

),

pairs as (

    {{
        membership_pairs(
            'group_records',
            'units',
            list_day=newest_day('int_groups_records', 'stg_groups'),
            file_day=newest_day('int_group_memberships_records', 'stg_group_memberships'),
        )
    }}

)

select
    pairs.group_id,
    pairs.agent_id,
    pairs._day,
    pairs._batch_id,
    pairs._source_file,
    pairs._source_row,
    clock_timestamp() as _updated_at
from pairs
inner join groups on pairs.group_id = groups.group_id
inner join agents on pairs.agent_id = agents.agent_id
