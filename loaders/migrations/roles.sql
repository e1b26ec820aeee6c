-- Who may do what: run whole by each migrate, so that a server that gains the roles later, or a
-- table declared later, gets its grants. Roles belong to the server, grants to this database.
do $roles$
declare
    role_name text;
    landed_table regclass;
begin
    foreach role_name in array array['daybook_loader', 'daybook_transformer', 'daybook_reader'] loop
        begin
            if to_regrole(role_name) is null then
                execute format('create role %I nologin', role_name);
                execute format('grant %I to current_user', role_name);
            end if;
        exception
            when duplicate_object or unique_violation then
                null; -- made meanwhile for another database of this server
        end;
    end loop;

    -- loader: writes bronze, and its own rows of the run metrics
    grant usage, create on schema bronze to daybook_loader;
    grant select, insert, update, delete, truncate on all tables in schema bronze to daybook_loader;
    revoke insert, update, delete, truncate on bronze.alembic_version from daybook_loader;
    grant usage on schema metrics to daybook_loader;
    grant select, insert, update on metrics.pipeline_metrics to daybook_loader;

    -- a landing makes and drops partitions, which only the owner of their parent may
    for landed_table in
        select pg_class.oid::regclass
        from pg_class
        where relnamespace = 'bronze'::regnamespace
            and relkind in ('p', 'r')
            and starts_with(relname, 'stg_')
            and relowner <> 'daybook_loader'::regrole
    loop
        execute format('alter table %s owner to daybook_loader', landed_table);
    end loop;

    -- transformer: reads bronze, writes the rest
    grant usage on schema bronze to daybook_transformer;
    grant select on all tables in schema bronze to daybook_transformer;
    alter default privileges in schema bronze grant select on tables to daybook_transformer;
    grant usage, create on schema intermediate, silver, quarantine, metrics, marts
        to daybook_transformer;
    grant select, insert, update, delete, truncate
        on all tables in schema intermediate, silver, quarantine, metrics, marts
        to daybook_transformer;
    alter default privileges in schema intermediate, silver, quarantine, metrics, marts
        grant select, insert, update, delete, truncate on tables to daybook_transformer;

    -- reader: marts and metrics, whatever dbt makes there later included
    grant usage on schema metrics, marts to daybook_reader;
    grant select on all tables in schema metrics, marts to daybook_reader;
    alter default privileges in schema metrics, marts grant select on tables to daybook_reader;
exception
    when insufficient_privilege then
        raise warning 'roles daybook_loader, daybook_transformer and daybook_reader were not set up: %',
            sqlerrm;
end
$roles$;
