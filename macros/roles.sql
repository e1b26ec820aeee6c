{% macro role_lists(records) -%}
    {#- Each agent's list of roles on each day that has one. -#}
    select
        agent_id,
        _day as day,
        {{ ids_of('role_ids') }} as role_ids
    from {{ records }}
    where _source_table = 'stg_agent_details' and role_ids is not null and _outcome not in ('quarantined', 'duplicate')
{%- endmacro %}


{% macro role_days(records, work) -%}
    {#- The agents and days whose assignments are worked out: the days whose list is new or gone, and
        the day of the list after each, which is held against it. -#}
    with changed as (
        select agent_id, _day as day from {{ records }}
        where _source_table = 'stg_agent_details' and agent_id is not null
        {%- if not work.whole %} and _day = any({{ pending_days(work) }})
        union
        select agent_id, day from {{ this }}
        where day = any({{ pending_days(work) }})
        {%- endif %}
    )

    select agent_id, day from changed
    union
    select changed.agent_id, following.day
    from changed
    cross join
        lateral (
            select lists.day from ({{ role_lists(records) }}) as lists
            where lists.agent_id = changed.agent_id and lists.day > changed.day
            order by lists.day asc
            limit 1
        ) as following
{%- endmacro %}


{% macro covers_role_days(work) -%}
    {% if work.whole %}true{% elif not work.pending %}false{% else %}(held.agent_id, held.day) in ({{ role_days(ref('int_agents_records'), work) }}){% endif %}
{%- endmacro %}
