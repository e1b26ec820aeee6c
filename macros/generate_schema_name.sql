{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set prefix = '' if target.name in ('embedded', 'prod') else target.schema ~ '_' -%}
    {{ prefix ~ custom_schema_name | trim if custom_schema_name is not none else target.schema }}
{%- endmacro %}
