-- One row per malformed list, per row of a memberships file that is not valid and per pair that names an unknown agent or
-- group. The unknown pairs of the newest snapshot are looked at again by each build.

{% set tables = ['stg_groups', 'stg_group_memberships'] %}

{{
    config(
        alias='group_memberships',
        tags=['groups'],
        pre_hook=[
            "{{ forget_pending('group_memberships', ['stg_groups', 'stg_group_memberships']) }}",
            "{{ forget_rechecked(ref('int_membership_outcomes')) }}",
            "{{ forget_unknown_pairs() }}",
        ],
    )
}}

with lists as (

    select * from {{ ref('int_group_lists_typed') }}
    where {{ in_batches(work_plan('group_memberships', tables).pending, work_plan('group_memberships', tables).days) }}
        and cardinality(_errors) > 0

),

outcomes as (

    select * from {{ ref('int_membership_outcomes') }}

),

-- the pairs of batches that are applied already
waiting as (

    select * from {{ ref('int_membership_pairs') }} as pairs
    where not (is_known_agent and is_known_group)
        and not exists (
            select 1 from outcomes
            where outcomes._batch_id = pairs._batch_id
        )

),

quarantined as (

    select
        _landed ->> 'group_id' as group_id,
        null as agent_id,
        _landed ->> 'agent_ids' as agent_ids,
        _errors,
        'stg_groups' as _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from lists
    union all
    select
        group_id_text,
        agent_id_text,
        null,
        _errors,
        _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from outcomes
    where judgement = 'invalid' and _source_table = 'stg_group_memberships'
    union all
    select
        group_id::text,
        agent_id::text,
        null,
        {{ unknown_errors('is_unknown_agent', 'is_unknown_group') }},
        _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from outcomes
    where judgement = 'unknown'
    union all
    select
        group_id::text,
        agent_id::text,
        null,
        {{ unknown_errors('not is_known_agent', 'not is_known_group') }},
        _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from waiting

)

select
    *,
    clock_timestamp() as _updated_at
from quarantined
