{#- Silver is a function of the days, so what it was after any of them can be asked of the records. -#}

{% macro as_of(entity, day) -%}
    {#- An entity, such as `agents`, as it stood once `day`, SQL for a date, and the days before it
        were applied: the columns of silver's table, but for the days an agent was seen on. -#}
    {%- set silver = ref(entity) -%}
    {%- set records = ref('int_' ~ entity ~ '_records') -%}
    {%- set key = key_of('stg_' ~ entity) | join(', ') -%}
    {%- if entity == 'group_memberships' -%}
        select pairs.*
        from (
            {{
                membership_pairs(
                    ref('int_groups_records'),
                    records,
                    list_day=newest_day('int_groups_records', 'stg_groups', until=day),
                    file_day=newest_day('int_group_memberships_records', 'stg_group_memberships', until=day),
                )
            }}
        ) as pairs
        where exists (select 1 from {{ ref('agents_history') }} as agents where agents.agent_id = pairs.agent_id and agents.valid_from <= {{ day }})
            and exists (select 1 from {{ ref('groups_history') }} as groups where groups.group_id = pairs.group_id and groups.valid_from <= {{ day }})
    {%- else -%}
        {#- what silver says of a rate has another name in the records, and when it was written has none -#}
        {%- set renamed = {'exchange_rate': 'fx_rate as exchange_rate', 'original_currency': 'currency as original_currency'} if entity == 'transactions' else {} -%}
        {%- set beside = ['status', 'first_seen_day', 'last_seen_day', 'is_present', '_updated_at'] if entity in ('agents', 'groups') else ['_updated_at'] -%}
        {%- set columns = adapter.get_columns_in_relation(silver) | map(attribute='name') | reject('in', beside) if execute else ['*'] %}
        select
            {%- for column in columns %}
            latest.{{ renamed.get(column, column) }}{% if not loop.last %},{% endif %}
            {%- endfor %}
            {%- if entity == 'agents' %},
            case when listed.agent_id is not null and latest.deactivated is not true and latest.contact_active is not false then 'active' else 'inactive' end as status
            {%- elif entity == 'groups' %},
            listed.group_id is not null as is_present
            {%- endif %}
        from (
            select distinct on ({{ key }}) * from {{ records }}
            where _outcome in ('inserted', 'updated', 'unchanged') and _day <= {{ day }}
            order by {{ key }}, _day desc
        ) as latest
        {%- if entity in ('agents', 'groups') %}
        left join (
            select distinct {{ key }} from {{ records }}
            where _source_table = 'stg_{{ entity }}' and _day = {{ newest_day('int_' ~ entity ~ '_records', 'stg_' ~ entity, until=day) }}
        ) as listed on latest.{{ key }} = listed.{{ key }}
        {%- endif %}
    {%- endif -%}
{%- endmacro %}
