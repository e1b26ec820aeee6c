{% macro app_day() -%}
    (
        select
            case
                when setting ~ '^day[1-9][0-9]{0,3}$' then date '1970-01-01' + substr(setting, 4)::int
                else setting::date
            end
        from (select nullif(current_setting('app.day', true), '') as setting) as app
    )
{%- endmacro %}


{% macro run_id() -%}
    coalesce(nullif(current_setting('app.flow_run_id', true), ''), '{{ invocation_id }}')
{%- endmacro %}


{% macro started() -%}
    select set_config('daybook.started', clock_timestamp()::text, true)
{%- endmacro %}


{% macro know_size() -%}
    {#- A table made in this build is planned for before autovacuum has seen it: without figures an
        anti join of 20,000 records with what was written took 9 s, with them 0.02 s. A tenth of the
        usual sample will do. -#}
    {%- if model.config.materialized == 'table' -%}
    set local default_statistics_target = 10;
    analyze {{ this }}
    {%- endif -%}
{%- endmacro %}


{% macro relation_if_built(name, layer) -%}
    {#- A model read without ref, because it is built from the model that reads it. -#}
    {{ return(adapter.get_relation(target.database, generate_schema_name(layer, none), name) if execute else none) }}
{%- endmacro %}


{% macro refuse_without_expired_days() -%}
    {% if execute and flags.FULL_REFRESH and flags.WHICH in ('build', 'run') %}
        {% set expired %}
            select string_agg(distinct expired_days.day::text, ', ') as days
            from bronze.expired_days
            where not exists (
                select 1 from bronze.load_batches
                where load_batches.table_name = expired_days.table_name
                    and load_batches.day = expired_days.day
                    and load_batches.batch_id > expired_days.batch_id
                    and load_batches.rows_landed is not null
            )
        {% endset %}
        {% set days = run_query(expired).columns[0].values()[0] %}
        {% if days %}
            {{ exceptions.raise_compiler_error(
                'A full refresh works on all landed days, and rows of these have expired (DAYBOOK_KEEP_DAYS): '
                ~ days ~ '. Land them again first.'
            ) }}
        {% endif %}
    {% endif %}
{%- endmacro %}


{% macro prepare_target() -%}
    {#- Another target's silver has applied other batches: it keeps its own control tables. -#}
    {% if execute and target.name not in ('embedded', 'prod') and flags.WHICH in ('build', 'run', 'seed', 'test') %}
        {% set schema = adapter.quote(generate_schema_name('metrics', none)) %}
        create schema if not exists {{ schema }};
        {% for name in ['applied_batches', 'changed_months', 'pipeline_metrics'] %}
        create table if not exists {{ schema }}.{{ name }} (like metrics.{{ name }} including all);
        {% endfor %}
    {% endif %}
{%- endmacro %}
