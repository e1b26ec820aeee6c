-- Which groups are inactive: no active agent in them or in any group below them.
--
-- Asked from the agents upwards (start where one is active, step to the parent): each group is
-- reached once, so time is linear in groups and memberships. Walking up or down from every group
-- is quadratic in depth.

{{
    config(
        materialized='incremental',
        incremental_strategy='upsert',
        unique_key='group_id',
        on_schema_change='append_new_columns',
        full_refresh=false,
        tags=['groups', 'metrics'],
        meta={'pipeline': 'groups', 'tables': ['stg_groups'], 'whole': true},
    )
}}

-- not materialized: too large for memory, and the table is there to be read
with recursive all_groups as not materialized (

    select
        group_id,
        name,
        parent_group_id
    from {{ ref('groups') }}

),

members as (

    select
        memberships.group_id,
        count(*) as active_members
    from {{ ref('group_memberships') }} as memberships
    inner join {{ ref('agents') }} as agents on memberships.agent_id = agents.agent_id
    where agents.status = 'active'
    group by memberships.group_id

),

active as (

    -- anchor: an active agent
    select
        all_groups.group_id,
        all_groups.parent_group_id
    from all_groups
    inner join members on all_groups.group_id = members.group_id
    union
    -- step: to the parent
    select
        all_groups.group_id,
        all_groups.parent_group_id
    from active
    inner join all_groups on active.parent_group_id = all_groups.group_id

),

children as (

    select
        parent_group_id as group_id,
        count(*) as active_children
    from active
    group by parent_group_id

),

placed as (

    -- anchor: no parent, or one that is not known
    select
        child.group_id,
        0 as depth,
        child.group_id as root_group_id
    from all_groups as child
    left join all_groups as parent on child.parent_group_id = parent.group_id
    -- of `is null` Postgres expects next to no row, and then reads all groups once per level
    where num_nulls(parent.group_id) = 1
    union all
    -- step: to the children; from a root no cycle can be reached
    select
        all_groups.group_id,
        placed.depth + 1,
        placed.root_group_id
    from placed
    inner join all_groups on placed.group_id = all_groups.parent_group_id

),

-- what no root reaches is in a cycle or below one
unplaced as (

    select
        all_groups.group_id,
        all_groups.parent_group_id as up_1
    from all_groups
    left join placed on all_groups.group_id = placed.group_id
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

)

select
    all_groups.group_id,
    all_groups.name,
    all_groups.parent_group_id,
    active.group_id is null as inactive,
    coalesce(members.active_members, 0) as active_members,
    coalesce(children.active_children, 0) as active_children,
    placed.depth,
    placed.root_group_id,
    cycles.group_id is not null as in_cycle
from all_groups
left join active on all_groups.group_id = active.group_id
left join members on all_groups.group_id = members.group_id
left join children on all_groups.group_id = children.group_id
left join placed on all_groups.group_id = placed.group_id
left join cycles on all_groups.group_id = cycles.group_id
-- the primary key of a first build grows at its end only, which saves a third of the time
order by all_groups.group_id
