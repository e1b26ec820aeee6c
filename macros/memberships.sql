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
