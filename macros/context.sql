{% macro app_day() -%}
    {#- The day that the run's session asks for; null in a build of all that has landed. -#}
    (
        select case when setting like 'day%' then date '1970-01-01' + substr(setting, 4)::int else nullif(setting, '')::date end
        from current_setting('app.day', true) as app (setting)
    )
{%- endmacro %}


{% macro day_name(day) -%}
    {#- The warehouse holds days of one calendar, so one look-up says for all of them which. -#}
    case
        when exists (select 1 from {{ source('ledger', 'calendar') }} where kind = 'numbered')
            then 'day' || ({{ day }} - date '1970-01-01')
        else {{ day }}::text
    end
{%- endmacro %}


{% macro run_id() -%}
    coalesce(nullif(current_setting('app.flow_run_id', true), ''), '{{ invocation_id }}')
{%- endmacro %}


{% macro is_building() -%}
    {#- Not in a clone, which runs hooks too, nor while SQL is only shown. -#}
    {{ return(execute and flags.WHICH in ('build', 'run', 'retry')) }}
{%- endmacro %}


{% macro prepare_target() -%}
    {#- Another target's silver has applied other batches: it keeps its own control tables. -#}
    {% if execute and target.name not in ('embedded', 'prod') and flags.WHICH in ('build', 'run', 'seed', 'test', 'snapshot', 'retry') %}
        {% set schema = adapter.quote(generate_schema_name('metrics', none)) %}
        create schema if not exists {{ schema }};
        {% for name in ['applied_batches', 'pipeline_metrics'] %}
        create table if not exists {{ schema }}.{{ name }} (like metrics.{{ name }} including all);
        {% endfor %}
        {#- a clone's seeds are views, which dbt does not seed -#}
        {% for seed in graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed') %}
        {% set cloned = adapter.get_relation(seed.database, seed.schema, seed.alias) %}
        {% if cloned and cloned.is_view %}{% do adapter.drop_relation(cloned) %}{% endif %}
        {% endfor %}
    {% endif %}
{%- endmacro %}


{% macro act_as_transformer() -%}
    {#- What a login makes belongs to its role, so that the next login can change it and readers see it. -#}
    {%- if target.name in ('embedded', 'prod') -%}
    select set_config('role', 'daybook_transformer', true)
    from pg_namespace
    where nspname in ('intermediate', 'silver', 'quarantine', 'metrics', 'marts')
    having bool_and(pg_has_role(to_regrole('daybook_transformer'), 'SET') and has_schema_privilege(to_regrole('daybook_transformer'), oid, 'create'))
    {%- endif -%}
{%- endmacro %}


{% macro hold_warehouse() -%}
    {#- Each model's transaction by hand shares the lock that a run holds alone, so that neither
        changes what the other works on. A run's own sessions carry its id. -#}
    {%- if 'app.flow_run_id=' not in env_var('PGOPTIONS', '') %}
    do $$
    begin
        if not pg_try_advisory_xact_lock_shared(1684109666) then
            raise exception 'The warehouse is held by %: only one run at a time changes it, wait for it to end.',
                coalesce((
                    select sessions.application_name
                    from pg_locks as locks
                    inner join pg_stat_activity as sessions on locks.pid = sessions.pid
                    where locks.locktype = 'advisory' and locks.classid = 0 and locks.objid = 1684109666
                        and locks.granted and locks.mode = 'ExclusiveLock'
                    limit 1
                ), 'another run');
        end if;
    end
    $$
    {%- endif %}
{%- endmacro %}


{% macro refuse_empty() -%}
    {%- if execute and flags.EMPTY -%}
        {{ exceptions.raise_compiler_error(
            '--empty would put empty views before the readers of ' ~ target.name ~ ': to see whether the SQL holds, use dbt compile, or build another target.'
        ) }}
    {%- endif -%}
{%- endmacro %}


{% macro refuse_without_expired_days() -%}
    {% if execute and flags.FULL_REFRESH and flags.WHICH in ('build', 'run') %}
        {% set expired %}
            select string_agg(distinct {{ day_name('expired_days.day') }}, ', ') as days
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
