{% macro landed_columns(table) -%}
    {#- The columns the sources file declares for a landed table, by name. -#}
    {%- set found = graph.sources.values() | selectattr('name', 'equalto', table) | list if execute else [] -%}
    {{ return(found[0].columns if found else {}) }}
{%- endmacro %}
