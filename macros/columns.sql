{% macro postgres__get_columns_in_relation(relation) -%}
    {#- From the catalogue itself: dbt asks information_schema, which was a fifth of Postgres' part of a build. -#}
    {%- call statement('columns', fetch_result=true) %}
        select
            attname,
            format_type(atttypid, null),
            information_schema._pg_char_max_length(atttypid, atttypmod),
            information_schema._pg_numeric_precision(atttypid, atttypmod),
            information_schema._pg_numeric_scale(atttypid, atttypmod)
        from pg_attribute
        where attrelid = to_regclass('{{ relation | replace("'", "''") }}') and attnum > 0 and not attisdropped
        order by attnum
    {%- endcall -%}
    {{ return(sql_convert_columns_in_relation(load_result('columns').table)) }}
{%- endmacro %}
