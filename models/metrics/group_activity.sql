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
        post_hook='{{ after_upsert() }}',
    )
}}

-- not materialized: too large for memory, and the table is there to be read
with recursive places as not materialized (

    select * from {{ ref('int_group_places') }}

),

memberships as (

    select * from {{ ref('group_memberships') }}

),

agents as (

    select agent_id from {{ ref('agents') }}
    where status = 'active'

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
    select
        places.group_id,
        places.parent_group_id
    from places
    inner join members on places.group_id = members.group_id
    union
    -- step: to the parent
    select
        places.group_id,
        places.parent_group_id
    from active
    inner join places on active.parent_group_id = places.group_id

),

children as (

    select
        parent_group_id as group_id,
        count(*) as active_children
    from active
    group by parent_group_id

),

counted as (

    select
        active.group_id,
        members.active_members,
        children.active_children
    from active
    left join members on active.group_id = members.group_id
    left join children on active.group_id = children.group_id

)

select
    places.group_id,
    places.name,
    places.parent_group_id,
    counted.group_id is null as inactive,
    coalesce(counted.active_members, 0) as active_members,
    coalesce(counted.active_children, 0) as active_children,
    places.depth,
    places.root_group_id,
    places.in_cycle
from places
left join counted on places.group_id = counted.group_id
-- the primary key of a first build grows at its end only, which saves a third of the time
order by places.group_id
