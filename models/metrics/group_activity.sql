-- Which groups are inactive: no active agent in them or in any group below them.
--
-- Asked from the agents upwards (start where one is active, step to the parent): each group is
-- reached once, so time is linear in groups and memberships. Walking up or down from every group
-- is quadratic in depth.

{{
    config(
        materialized='incremental',
        incremental_strategy='mirror',
        unique_key='group_id',
        on_schema_change='append_new_columns',
        full_refresh=false,
        tags=['groups', 'metrics'],
        meta={'pipeline': 'groups', 'tables': ['stg_groups']},
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_mirror() }}',
    )
}}

with recursive groups as (

    select
        group_id,
        name,
        parent_group_id
    from {{ ref('groups') }}

),

memberships as (

    select * from {{ ref('group_memberships') }}

),

agents as (

    select agent_id from {{ ref('agents') }}
    where status = 'active'

),

-- a parent that is not known is none
edges as (

    select
        child.group_id,
        parent.group_id as parent_group_id
    from groups as child
    inner join groups as parent on child.parent_group_id = parent.group_id

),

members as (

    select
        memberships.group_id,
        count(*) as active_members
    from memberships
    inner join agents on memberships.agent_id = agents.agent_id
    group by memberships.group_id

),

active as (

    -- anchor: an active agent
    select group_id from members
    union
    -- step: to the parent
    select edges.parent_group_id
    from active
    inner join edges on active.group_id = edges.group_id

),

placed as (

    -- anchor: no parent
    select
        groups.group_id,
        0 as depth,
        groups.group_id as root_group_id
    from groups
    left join edges on groups.group_id = edges.group_id
    where edges.group_id is null
    union all
    -- step: to the children; from a root no cycle can be reached
    select
        edges.group_id,
        placed.depth + 1,
        placed.root_group_id
    from placed
    inner join edges on placed.group_id = edges.parent_group_id

),

-- what no root reaches is in a cycle or below one
unplaced as (

    select
        edges.group_id,
        edges.parent_group_id as up_1
    from edges
    left join placed on edges.group_id = placed.group_id
    where placed.group_id is null

),

-- Each jump doubles the last: after {{ 2 ** 20 }} steps up only the cycles themselves are reached.
{% for jump in range(20) -%}
jump_{{ jump }} as (

    select
        here.group_id,
        there.up_1
    from {{ 'unplaced' if loop.first else 'jump_' ~ (jump - 1) }} as here
    inner join {{ 'unplaced' if loop.first else 'jump_' ~ (jump - 1) }} as there on here.up_1 = there.group_id

),

{% endfor -%}
cycles as (

    select distinct up_1 as group_id from jump_19

),

children as (

    select
        edges.parent_group_id as group_id,
        count(*) as active_children
    from edges
    inner join active on edges.group_id = active.group_id
    group by edges.parent_group_id

)

select
    groups.group_id,
    groups.name,
    groups.parent_group_id,
    active.group_id is null as inactive,
    coalesce(members.active_members, 0) as active_members,
    coalesce(children.active_children, 0) as active_children,
    placed.depth,
    placed.root_group_id,
    cycles.group_id is not null as in_cycle
from groups
left join members on groups.group_id = members.group_id
left join children on groups.group_id = children.group_id
left join active on groups.group_id = active.group_id
left join placed on groups.group_id = placed.group_id
left join cycles on groups.group_id = cycles.group_id
