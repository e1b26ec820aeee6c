{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {#- An upsert reads what it selects once: a view of it saves writing the records once more. -#}
    {%- if temporary and config.get('incremental_strategy') == 'upsert' -%}
    create temporary view {{ relation }} as (
        {{ sql }}
    );
    {%- elif not temporary and (config.get('meta') or {}).get('month') and by_month() -%}
    {{ create_by_month(relation, sql) }}
    {%- else -%}
    {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- endif -%}
{%- endmacro %}
