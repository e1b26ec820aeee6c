{% macro by_month() -%}
    {#- DAYBOOK_PARTITION_TRANSACTIONS asks for partitions where a table is made; what is there
        stays as it is. -#}
    {%- set wanted = env_var('DAYBOOK_PARTITION_TRANSACTIONS', '') -%}
    {%- if wanted not in ('', 'month') -%}
        {{ exceptions.raise_compiler_error("DAYBOOK_PARTITION_TRANSACTIONS is month, or not set.") }}
    {%- endif -%}
    {{ return(wanted == 'month') }}
{%- endmacro %}


{% macro is_partitioned(relation) -%}
    {%- if execute and relation and flags.WHICH in ('build', 'run', 'compile', 'test') -%}
        {{ return(run_query(
            "select exists (select 1 from pg_class where oid = to_regclass('" ~ relation ~ "') and relkind = 'p')"
        ).rows[0][0]) }}
    {%- endif -%}
    {{ return(false) }}
{%- endmacro %}


{% macro keys_of(relation) -%}
    {#- A table by month can't have a key without the month: this one beside it says where each
        key's row is, and holds keys to be unique over all months. -#}
    {{ return(api.Relation.create(database=relation.database, schema=relation.schema, identifier=relation.identifier ~ '_keys')) }}
{%- endmacro %}


{% macro create_by_month(relation, sql) -%}
    {%- set key = config.get('unique_key') -%}
    {%- set month = config.get('meta').month -%}
    create table {{ relation }}
    {{ get_table_columns_and_constraints() | replace('primary key (' ~ key ~ ')', 'primary key (' ~ key ~ ', ' ~ month ~ ')') }}
    partition by range ({{ month }});
    create table if not exists {{ keys_of(relation) }} ({{ key }} text primary key, {{ month }} timestamptz not null);
    -- of a table that somebody dropped
    truncate {{ keys_of(relation) }};
    {{ make_months(relation, month, ref(config.get('meta').pending)) }};
    insert into {{ relation }}
    {{ get_select_subquery(sql) }};
    insert into {{ keys_of(relation) }} select {{ key }}, {{ month }} from {{ relation }};
    analyze {{ keys_of(relation) }}
{%- endmacro %}


{% macro make_months(relation, month, pending) -%}
    {#- Made beside the table and attached: `partition of` would lock readers out. -#}
do $$
declare
    first_day date;
    partition text;
begin
    for first_day in
        select distinct {{ month_of('pending.' ~ month) }} from {{ pending }} as pending
        where pending._is_valid and pending._rank = 1
    loop
        partition := format('%I.%I', '{{ relation.schema }}', '{{ relation.identifier }}' || to_char(first_day, '"_p"YYYYMM'));
        if to_regclass(partition) is null then
            execute format('create table %s (like {{ relation }} including all)', partition);
            execute format(
                'alter table {{ relation }} attach partition %s for values from (%L) to (%L)',
                partition,
                first_day::timestamp at time zone 'UTC',
                (first_day + interval '1 month') at time zone 'UTC'
            );
        end if;
    end loop;
end
$$
{%- endmacro %}
