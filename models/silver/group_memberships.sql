-- The newest snapshot's valid pairs, worked out whole by each build: an agent that becomes known
-- releases pairs that no new file names.

-- depends_on: {{ ref('quarantine_group_memberships') }}
-- depends_on: {{ ref('int_membership_outcomes') }}
{{
    config(
        incremental_strategy='mirror',
        unique_key=['group_id', 'agent_id'],
        tags=['groups'],
        meta={
            'pipeline': 'groups',
            'tables': ['stg_groups', 'stg_group_memberships'],
            'units': true,
            'outcomes': 'membership_outcomes',
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_mirror() }}',
    )
}}

with pairs as (

    select * from {{ ref('int_membership_pairs') }}

)

select
    group_id,
    agent_id,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from pairs
where is_known_agent and is_known_group
