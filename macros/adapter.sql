{#- What dbt has too, replaced. -#}

{#- A view that a build renames and drops takes the views of its readers with it: replaced in
    place, it keeps them, its grants and its oid. -#}
{% materialization view, adapter='postgres' -%}
    {%- set built = create_or_replace_view() -%}
    {%- do adapter.commit() -%}
    {{ return(built) }}
{%- endmaterialization %}


{% macro postgres__create_view_as(relation, sql) -%}
    {#- A view that says so already is left alone: to replace it waits for its readers, and lets none in
        meanwhile. In place Postgres takes new columns behind the others alone, and no other type. -#}
    do $replace$
    begin
        create temporary view as_written as (
            {{ sql }}
        );
        if pg_get_viewdef('as_written'::regclass) is distinct from pg_get_viewdef(to_regclass('{{ relation | replace("'", "''") }}')) then
            {{ get_replace_view_sql(relation, sql) }}
        end if;
        drop view as_written;
    exception when invalid_table_definition then
        drop view {{ relation }};
        {{ get_replace_view_sql(relation, sql) }}
    end
    $replace$
{%- endmacro %}


{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {#- What an upsert selects it reads once: a view of it saves writing the rows once more. Records
        by batch are written twice, as Postgres lets parallel workers type for a new table alone. -#}
    {%- if temporary and config.get('incremental_strategy') == 'upsert' -%}
    create temporary view {{ relation }} as (
        {{ sql }}
    );
    {%- else -%}
    {%- if temporary and config.get('incremental_strategy') == 'by_batch' -%}
    {{ hold_table() }}
    {%- endif %}
    {%- do plan() -%}{#- before the table is there, which a first build over a clone's view does not show -#}
    {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- endif -%}
{%- endmacro %}


{% macro postgres__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {#- A full refresh drops a seed, and with it the views that read it: it is emptied while its columns stay.
        Postgres has its own names for types, so it makes the columns that are wanted. -#}
    {%- if full_refresh -%}
    {%- set wanted, config = [], model.config -%}
    {%- for name in agate_table.column_names -%}
    {%- do wanted.append(adapter.quote_seed_column(name, config.get('quote_columns', none)) ~ ' ' ~ (config.column_types.get(name) or adapter.convert_type(agate_table, loop.index0))) -%}
    {%- endfor -%}
    {%- set differs %}
        create temporary table as_wanted ({{ wanted | join(', ') }}) on commit drop;
        select count(distinct columns) > 1
        from (
            select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) as columns
            from pg_attribute
            where attrelid in ('as_wanted'::regclass, to_regclass('{{ old_relation | replace("'", "''") }}')) and attnum > 0 and not attisdropped
            group by attrelid
        ) as tables
    {% endset -%}
    {%- set full_refresh = run_query(differs).columns[0].values()[0] -%}
    {%- endif -%}
    {{ return(default__reset_csv_table(model, full_refresh, old_relation, agate_table)) }}
{%- endmacro %}


{% macro postgres__create_indexes(relation) -%}
    {#- An upsert's key is unique by an index or a primary key of the model's own, else by one made here. -#}
    {{ default__create_indexes(relation) }}
    {%- if config.get('materialized') == 'incremental' and config.get('incremental_strategy') == 'upsert' -%}
    {%- set key, columns = quoted(config.get('unique_key') or []), adapter.get_columns_in_relation(relation) | map(attribute='quoted') | list -%}
    {%- set unique = "select true from pg_index where indisunique and indrelid = to_regclass('" ~ relation | replace("'", "''") ~ "') and " ~ columns_of_index() ~ " = '" ~ key | sort(case_sensitive=true) | join(', ') ~ "'" -%}
    {%- if key and not key | reject('in', columns) | list and not run_query(unique).rows -%}
    {%- do run_query(get_create_index_sql(relation, {'columns': key, 'unique': true})) -%}
    {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro columns_of_index() -%}
    {#- Of a row of pg_index: their names in quotes, sorted. -#}
    (select string_agg('"' || attname || '"', ', ' order by attname) from pg_attribute where attrelid = indrelid and attnum = any(indkey))
{%- endmacro %}


{% macro postgres__get_columns_in_relation(relation) -%}
    {#- From the catalogue itself: dbt asks information_schema, which was a fifth of Postgres' part of a build. -#}
    {%- call statement('columns', fetch_result=true) %}
        select
            attname, format_type(atttypid, null), information_schema._pg_char_max_length(atttypid, atttypmod),
            information_schema._pg_numeric_precision(atttypid, atttypmod), information_schema._pg_numeric_scale(atttypid, atttypmod)
        from pg_attribute
        where attrelid = to_regclass('{{ relation | replace("'", "''") }}') and attnum > 0 and not attisdropped
        order by attnum
    {%- endcall -%}
    {{ return(sql_convert_columns_in_relation(load_result('columns').table)) }}
{%- endmacro %}
