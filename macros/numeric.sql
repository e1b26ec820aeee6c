-- dbt warns of a contract's numeric without a precision, as other databases round it. Postgres keeps
-- every digit of it, and numeric is the word that tools reading a contract know.
{% macro postgres__get_empty_schema_sql(columns) %}
    {%- set named = {} -%}
    {%- for name, column in columns.items() -%}
        {%- set type = 'pg_catalog.numeric' if column['data_type'] == 'numeric' else column['data_type'] -%}
        {%- do named.update({name: dict(column, data_type=type)}) -%}
    {%- endfor -%}
    {{ return(dbt.default__get_empty_schema_sql(named)) }}
{% endmacro %}
