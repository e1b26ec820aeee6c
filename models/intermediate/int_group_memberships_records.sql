-- One row for each thing that says "this agent is in this group": an element of a group's readable
-- list, or a row of a memberships file; and one for each list that can't be read. Of a day's lists
-- of one group the last write counts, and lists stand before files. Whether both are known is asked
-- again when it may have changed.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['groups'],
        indexes=[
            {'columns': ['group_id', 'agent_id', '_day desc']},
            {'columns': ['_day', '_outcome', '_source_table', '_batch_id']},
            {'columns': ['_outcome']},
        ],
        meta={
            'pipeline': 'groups',
            'tables': ['stg_groups', 'stg_group_memberships'],
            'place': ['_source_position'],
            'unit': 'membership',
        },
    )
}}

{% set unknown = "array_remove(array[case when agents.agent_id is null then 'unknown_agent' end, case when known_groups.group_id is null then 'unknown_group' end], null)" %}

-- all units are looked through only when somebody has ceased to be known
{% set deletions = "(select coalesce(max(id), 0) from " ~ source('control', 'pipeline_metrics') ~ " where task_name in ('agents', 'groups') and rows_deleted > 0)" %}

{% set known_otherwise %}
    (held.table_name, held.day) in (
        select units._source_table, units._day
        from {{ this }} as units
        left join {{ ref('agents') }} as agents on units.agent_id = agents.agent_id
        left join {{ ref('groups') }} as known_groups on units.group_id = known_groups.group_id
        where units._outcome = 'quarantined'
            and units._errors && array['unknown_agent', 'unknown_group']
            and units._errors <> {{ unknown }}
        union all
        select units._source_table, units._day
        from {{ this }} as units
        left join {{ ref('agents') }} as agents on units.agent_id = agents.agent_id
        left join {{ ref('groups') }} as known_groups on units.group_id = known_groups.group_id
        where {{ mark_changed(deletions) }}
            and units._outcome <> 'quarantined'
            and (agents.agent_id is null or known_groups.group_id is null)
    )
{% endset %}

{% set work = plan(again=known_otherwise, mark=deletions) %}

with groups as (

    select
        *,
        row_number() over (
            partition by group_id, _day, cardinality(_errors) = 0 and _member_ids is not null
            order by updated_at desc nulls last, _source_file collate "C" desc, _source_row desc
        ) as list_rank
    from {{ ref('int_groups_typed') }}
    where {{ work.is_pending }}

),

units as (

    select
        groups.group_id,
        members.agent_id,
        case when cardinality(groups._errors) > 0 then '{group_invalid}' else '{}' end::text [] as _errors,
        case when cardinality(groups._errors) > 0 then jsonb_build_object('group_id', groups._landed -> 'group_id') end as _landed,
        null::jsonb as _extra,
        groups.updated_at as _list_written,
        groups.list_rank > 1 as _is_outdone,
        members.position as _source_position,
        'stg_groups' as _source_table,
        groups._day,
        groups._batch_id,
        groups._source_file,
        groups._source_row
    from groups
    cross join lateral unnest(groups._member_ids) with ordinality as members (agent_id, position)
    union all
    select
        group_id, null, array_remove(array[case when cardinality(_errors) > 0 then 'group_invalid' end, 'agent_ids_invalid'], null),
        jsonb_build_object('group_id', _landed -> 'group_id', 'agent_ids', _landed -> 'agent_ids'),
        _extra, null, false, 0, 'stg_groups',
        _day, _batch_id, _source_file, _source_row
    from groups
    where _list_is_malformed
    union all
    select
        group_id, agent_id, _errors, _landed, _extra, null, false, 1,
        'stg_group_memberships', _day, _batch_id, _source_file, _source_row
    from {{ ref('int_group_memberships_typed') }}
    where {{ work.is_pending }}
    {%- if work.again %}
    union all
    select
        group_id,
        agent_id,
        array_remove(array_remove(_errors, 'unknown_agent'), 'unknown_group'),
        _landed, _extra, _list_written, _is_outdone, _source_position, _source_table, _day, _batch_id, _source_file,
        _source_row
    from {{ this }} as held
    where _day = any({{ work.days }}) and _batch_id = any({{ array_of(work.again, 'bigint') }})
    {%- endif %}

),

asked as (

    select
        units.group_id,
        units.agent_id,
        case
            when cardinality(units._errors) > 0 then units._errors
            else {{ unknown }}
        end as _errors,
        units._landed, units._extra, units._list_written, units._is_outdone, units._source_position, units._source_table,
        units._day, units._batch_id, units._source_file,
        units._source_row
    from units
    left join {{ ref('agents') }} as agents on units.agent_id = agents.agent_id
    left join {{ ref('groups') }} as known_groups on units.group_id = known_groups.group_id

),

judged as (

    {{
        judge(
            'asked',
            'stg_group_memberships',
            within_day='_is_outdone, _source_table desc, _list_written desc nulls last, _source_file collate "C" desc, _source_row desc, _source_position',
            loses='_is_outdone',
        )
    }}

)

select
    group_id,
    agent_id,
    -- a list that can't be read is no unit: it is shown in quarantine and counted nowhere
    case when 'agent_ids_invalid' <> all(_errors) then _outcome end as _outcome,
    _errors,
    _landed,
    _extra,
    _list_written,
    _is_outdone,
    _hash,
    _source_position,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
