-- Where each group stands: how deep, below which root, and whether its parents lead back to it.

{{ config(tags=['groups', 'metrics']) }}

with recursive groups as (

    select
        group_id,
        parent_group_id
    from {{ ref('groups') }}

),

-- a parent that is not known is none
edges as (

    select
        child.group_id,
        parent.group_id as parent_group_id
    from groups as child
    inner join groups as parent on child.parent_group_id = parent.group_id

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

)

select
    groups.group_id,
    placed.depth,
    placed.root_group_id,
    cycles.group_id is not null as in_cycle
from groups
left join placed on groups.group_id = placed.group_id
left join cycles on groups.group_id = cycles.group_id
