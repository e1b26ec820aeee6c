{#- How dbt learns of a relation's columns, in fewer and lighter queries than its own. -#}

{% macro postgres__process_schema_changes(on_schema_change, source_relation, target_relation) -%}
    {#- One look at both relations where dbt takes three: a new column, if any, is left to dbt. -#}
    {%- set of_both -%}
        select
            source.attname as name,
            held.attname is null as is_new
        from pg_attribute as source
        left join pg_attribute as held
            on source.attname = held.attname
            and held.attrelid = '{{ target_relation | replace("'", "''") }}'::regclass
            and not held.attisdropped
        where source.attrelid = '{{ source_relation | replace("'", "''") }}'::regclass and source.attnum > 0 and not source.attisdropped
        order by source.attnum
    {%- endset -%}
    {%- set columns = run_query(of_both).rows if on_schema_change == 'append_new_columns' else [] -%}
    {%- if not columns or columns | selectattr('is_new') | list -%}
        {{ return(dbt.default__process_schema_changes(on_schema_change, source_relation, target_relation)) }}
    {%- endif -%}
    {%- set found = [] -%}
    {%- for column in columns -%}{%- do found.append(api.Column.create(column.name, 'text')) -%}{%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


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
