-- Where each group stands: how deep, below which root, and whether its parents lead back to it.
-- A table, so that group_activity is planned for as many groups as there are, and finds a parent
-- by its index: a chain of ten thousand groups is ten thousand steps.

{{
    config(
        materialized='table',
        tags=['groups', 'metrics'],
        indexes=[{'columns': ['group_id'], 'unique': true}],
        post_hook='{{ look_again({}) }}',
    )
}}

with recursive groups as not materialized (

    select
        group_id,
        name,
        parent_group_id
    from {{ ref('groups') }}

),

placed as (

    -- anchor: no parent, or one that is not known
    select
        child.group_id,
        0 as depth,
        child.group_id as root_group_id
    from groups as child
    left join groups as parent on child.parent_group_id = parent.group_id
    -- of `is null` Postgres expects next to no row, and then reads all groups once per level
    where num_nulls(parent.group_id) = 1
    union all
    -- step: to the children; from a root no cycle can be reached
    select
        groups.group_id,
        placed.depth + 1,
        placed.root_group_id
    from placed
    inner join groups on placed.group_id = groups.parent_group_id

),

located as (

    select
        groups.group_id,
        groups.name,
        groups.parent_group_id,
        placed.depth,
        placed.root_group_id
    from groups
    left join placed on groups.group_id = placed.group_id

),

-- what no root reaches is in a cycle or below one
unplaced as (

    select
        group_id,
        parent_group_id as up_1
    from located
    where depth is null

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
    located.group_id,
    located.name,
    located.parent_group_id,
    located.depth,
    located.root_group_id,
    cycles.group_id is not null as in_cycle
from located
left join cycles on located.group_id = cycles.group_id
