{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if custom_schema_name is none -%}
    {{ target.schema }}
    {%- else -%}
    {{ '' if target.name in ('embedded', 'prod') else target.schema ~ '_' }}{{ custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
