{#- A view that a build renames and drops takes the views of its readers with it: replaced in
    place, it keeps them, its grants and its oid. -#}
{% materialization view, adapter='postgres' -%}
    {%- set built = create_or_replace_view() -%}
    {%- do adapter.commit() -%}
    {{ return(built) }}
{%- endmaterialization %}


{% macro postgres__create_view_as(relation, sql) -%}
    {{ get_replace_view_sql(relation, sql) }}
{%- endmacro %}
