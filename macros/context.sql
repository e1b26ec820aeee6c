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
        when exists (select 1 from {{ source('ledger', 'calendar') }} where kind = 'numbered') then 'day' || ({{ day }} - date '1970-01-01')
        else to_char(({{ day }})::timestamp, 'YYYY-MM-DD')
    end
{%- endmacro %}


{% macro run_id() -%}
    coalesce(nullif(current_setting('app.flow_run_id', true), ''), '{{ invocation_id }}')
{%- endmacro %}


{% macro is_building() -%}
    {#- Not in a clone, which runs hooks too, nor while SQL is only shown. In a retry it is the command retried. -#}
    {{ return(execute and flags.WHICH in ('build', 'run')) }}
{%- endmacro %}


{% macro is_by_hand() -%}
    {#- A run's own sessions carry its id. -#}
    {{ return('app.flow_run_id=' not in env_var('PGOPTIONS', '')) }}
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
    {#- Each model's and seed's transaction by hand shares the lock that a run holds alone, so that neither
        changes what the other works on. -#}
    {%- if is_by_hand() %}
    do $$
    begin
        if not pg_try_advisory_xact_lock_shared(1684109666) then
            raise exception 'The warehouse is held by %: only one run at a time changes it, wait for it to end.',
                coalesce((
                    select application_name from pg_locks inner join pg_stat_activity using (pid)
                    where locktype = 'advisory' and classid = 0 and objid = 1684109666 and granted and mode = 'ExclusiveLock'
                    limit 1
                ), 'another run');
        end if;
    end
    $$
    {%- endif %}
{%- endmacro %}


{% macro hold_table() -%}
    {#- Of two builds by hand the second sees what the first has written. A lock of the table itself
        that shuts out the other would shut out autovacuum too, and wait for it. -#}
    select pg_advisory_xact_lock(1684109666, '{{ this | replace("'", "''") }}'::regclass::oid::int);
{%- endmacro %}
