{% macro as_of(entity, day) -%}
    {#- With the columns of silver's table, but for the days an agent was seen on and when a row was written;
        of a membership its key alone. -#}
    {%- set key = landed_table('stg_' ~ entity).meta.key | join(', ') -%}
    {%- if entity == 'group_memberships' -%}
    select {{ key }} from {{ ref('group_memberships_history') }}
    where {{ day }} between valid_from and coalesce(valid_to, 'infinity')
    {%- else -%}
    {%- set silver, records = ref(entity), ref('int_' ~ entity ~ '_records') -%}
    {%- set is_listed = {'agents': 'status', 'groups': 'is_present'}.get(entity) -%}
    {%- set beside = ['first_seen_day', 'last_seen_day', '_updated_at', is_listed] -%}
    {#- what silver says of a rate has another name in the records -#}
    {%- set renamed = {'exchange_rate': 'fx_rate as exchange_rate', 'original_currency': 'currency as original_currency'} if entity == 'transactions' else {} %}
    select
        {%- for column in adapter.get_columns_in_relation(silver) | map(attribute='name') | reject('in', beside) if execute %}
        {% if not loop.first %}, {% endif %}latest.{{ renamed.get(column, column) }}
        {%- endfor %}
        {%- if entity == 'agents' %}
        , case when listed.agent_id is not null and latest.deactivated is not true and latest.contact_active is not false then 'active' else 'inactive' end as status
        {%- elif entity == 'groups' %}
        , listed.group_id is not null as is_present
        {%- endif %}
    from (
        select distinct on ({{ key }}) * from {{ records }}
        where _outcome in ('inserted', 'updated', 'unchanged') and _day <= {{ day }}
        order by {{ key }}, _day desc
    ) as latest
    {%- if is_listed %}
    left join (
        select distinct {{ key }} from {{ records }}
        where _source_table = 'stg_{{ entity }}' and _day = {{ newest_day('int_' ~ entity ~ '_records', 'stg_' ~ entity, until=day) }}
    ) as listed on latest.{{ key }} = listed.{{ key }}
    {%- endif %}
    {%- endif -%}
{%- endmacro %}
