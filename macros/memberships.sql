{% macro unknown_errors(is_unknown_agent, is_unknown_group) -%}
    array_remove(
        array[
            case when {{ is_unknown_agent }} then 'unknown_agent' end,
            case when {{ is_unknown_group }} then 'unknown_group' end
        ],
        null
    )
{%- endmacro %}


{% macro known_mark() -%}
    {#- A number that differs once an agent or a group is no longer known. -#}
    (
        select coalesce(max(metrics.id), 0) from {{ source('control', 'pipeline_metrics') }} as metrics
        where metrics.task_name in ('agents', 'groups') and metrics.rows_deleted > 0
    )
{%- endmacro %}


{% macro batches_to_ask_again() -%}
    {#- The batches that name somebody who has become known, or has ceased to be. -#}
    (held.table_name, held.day) in (
        select units._source_table, units._day
        from {{ this }} as units
        left join {{ ref('agents') }} as agents on units.agent_id = agents.agent_id
        left join {{ ref('groups') }} as groups on units.group_id = groups.group_id
        where units._outcome = 'quarantined'
            and units._errors && array['unknown_agent', 'unknown_group']
            and units._errors <> {{ unknown_errors('agents.agent_id is null', 'groups.group_id is null') }}
        union all
        select units._source_table, units._day
        from {{ this }} as units
        left join {{ ref('agents') }} as agents on units.agent_id = agents.agent_id
        left join {{ ref('groups') }} as groups on units.group_id = groups.group_id
        where {{ mark_changed('known', known_mark()) }}
            and units._outcome <> 'quarantined'
            and (agents.agent_id is null or groups.group_id is null)
    )
{%- endmacro %}


{% macro membership_pairs(groups, units, list_day, file_day) -%}
    {#- The pairs that the snapshots of two days claim, each once with where it stands: a group of the
        `list_day` by its newest readable list until then, a file by its own rows. `groups`, `units`:
        the records of groups and of memberships. -#}
    select distinct on (group_id, agent_id) *
    from (
        select
            lists.group_id,
            members.agent_id,
            'stg_groups' as _source_table,
            lists._day,
            lists._batch_id,
            lists._source_file,
            lists._source_row
        from (select distinct group_id from {{ groups }} where _day = {{ list_day }}) as present
        cross join
            lateral (
                select * from {{ groups }} as newest
                where newest.group_id = present.group_id
                    and newest._day <= {{ list_day }}
                    and cardinality(newest._errors) = 0
                    and newest._member_ids is not null
                order by newest._day desc, newest.updated_at desc nulls last, newest._source_file collate "C" desc, newest._source_row desc
                limit 1
            ) as lists
        cross join lateral unnest(lists._member_ids) as members (agent_id)
        union all
        select group_id, agent_id, _source_table, _day, _batch_id, _source_file, _source_row
        from {{ units }}
        where _source_table = 'stg_group_memberships' and _day = {{ file_day }} and _outcome <> 'quarantined'
    ) as claims
    order by group_id asc, agent_id asc, _day desc, _source_table desc, _source_file collate "C" desc, _source_row desc
{%- endmacro %}
