{% macro postgres__get_empty_schema_sql(columns) %}
    {#- dbt's own, which warns of a `numeric` without a precision, though Postgres keeps every digit of it -#}
    {%- set typed = {} -%}
    {%- for name, column in columns.items() -%}
        {%- do typed.update({name: dict(column, data_type='pg_catalog.numeric') if column['data_type'] == 'numeric' else column}) -%}
    {%- endfor -%}
    {{ default__get_empty_schema_sql(typed) }}
{% endmacro %}
