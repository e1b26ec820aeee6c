{% macro as_of(entity, day) -%}
    {#- An entity, such as `agents`, as it stood once `day`, SQL for a date, and the days before it
        were applied: the columns of silver's table, but for the days an agent was seen on, and of a
        membership its key. -#}
    {%- set key = landed_table('stg_' ~ entity).meta.key | join(', ') -%}
    {%- if entity == 'group_memberships' -%}
        select {{ key }} from {{ ref('group_memberships_history') }}
        where {{ day }} between valid_from and coalesce(valid_to, 'infinity')
    {%- else -%}
        {%- set silver = ref(entity) -%}
        {%- set records = ref('int_' ~ entity ~ '_records') -%}
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
