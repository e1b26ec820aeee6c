-- One row per thing that says "this agent is in this group" in the batches of this build: an element
-- of a readable list, or a row of a memberships file. Lists stand before files.

{% set tables = ['stg_groups', 'stg_group_memberships'] %}
{% set plan = work_plan('group_memberships', tables) %}

{{ config(materialized='table', unlogged=true, tags=['groups']) }}

with groups as (

    select
        *,
        cardinality(_errors) = 0 as _is_valid,
        row_number() over (
            partition by group_id, _day, cardinality(_errors) = 0 and agent_ids is not null
            order by {{ newest_first(['updated_at'], 'typed') }}
        ) as list_rank
    from {{ ref('int_groups_typed') }} as typed
    where {{ in_batches(plan.pending, plan.days) }}

),

listed as (

    select
        'stg_groups' as _source_table,
        groups.group_id,
        ids.agent_id::bigint as agent_id,
        null::text as group_id_text,
        null::text as agent_id_text,
        groups._errors,
        groups._is_valid,
        groups.list_rank,
        ids.position as _source_position,
        groups._day,
        groups._batch_id,
        groups._source_file,
        groups._source_row
    from groups
    cross join lateral jsonb_array_elements_text(groups.agent_ids) with ordinality as ids (agent_id, position)

),

filed as (

    select
        'stg_group_memberships' as _source_table,
        group_id,
        agent_id,
        _landed ->> 'group_id' as group_id_text,
        _landed ->> 'agent_id' as agent_id_text,
        _errors,
        cardinality(_errors) = 0 as _is_valid,
        1 as list_rank,
        1 as _source_position,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ ref('int_group_memberships_typed') }}
    where {{ in_batches(plan.pending, plan.days) }}

),

units as (

    select * from listed
    union all
    select * from filed

)

select
    units.*,
    row_number() over (
        partition by units._is_valid, units.group_id, units.agent_id, units._day
        order by {{ first_unit('units') }}
    ) as _day_rank
from units
