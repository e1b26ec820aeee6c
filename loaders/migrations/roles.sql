-- Who may do what: run whole by each migrate, so that a server that gains the roles later, or a
-- table declared later, gets its grants. Roles belong to the server, grants to this database.
do $roles$
declare
    role_name text;
    relation regclass;
    its_owner name;
    maker name;
    lock_function regprocedure;
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

    -- loader: writes bronze and its own rows of the run metrics, reads what it matches names with
    grant usage, create on schema bronze to daybook_loader;
    grant select, insert, update, delete, truncate on all tables in schema bronze to daybook_loader;
    revoke insert, update, delete, truncate on bronze.alembic_version from daybook_loader;
    grant usage on schema metrics, silver to daybook_loader;
    revoke update on metrics.pipeline_metrics from daybook_loader;
    grant select, insert on metrics.pipeline_metrics to daybook_loader;
    grant select on metrics.applied_batches to daybook_loader;
    grant select on all sequences in schema bronze, metrics to daybook_loader; -- for a backup
    if to_regclass('silver.agents') is not null then
        grant select (agent_id, name) on silver.agents to daybook_loader;
    end if;

    -- transformer: reads bronze, writes the rest
    grant usage on schema bronze to daybook_transformer;
    grant select on all tables in schema bronze to daybook_transformer;
    grant usage, create on schema intermediate, silver, quarantine, metrics, marts
        to daybook_transformer;
    grant select, insert, update, delete, truncate
        on all tables in schema intermediate, silver, quarantine, metrics, marts
        to daybook_transformer;

    -- only an owner makes and drops partitions, or takes the place of a view
    for relation, its_owner in
        select
            pg_class.oid::regclass,
            case relnamespace::regnamespace::text
                when 'bronze' then 'daybook_loader' else 'daybook_transformer'
            end
        from pg_class
        where
            relkind in ('p', 'r', 'v', 'm')
            and (
                relnamespace = 'bronze'::regnamespace and starts_with(relname, 'stg_')
                or relnamespace = any(array[
                    'intermediate', 'silver', 'quarantine', 'metrics', 'marts'
                ]::regnamespace[])
            )
    loop
        if (select relowner::regrole::text from pg_class where oid = relation) <> its_owner then
            execute format('alter table %s owner to %I', relation, its_owner);
        end if;
    end loop;

    -- reader: marts and metrics
    grant usage on schema metrics, marts to daybook_reader;
    grant select on all tables in schema metrics, marts to daybook_reader;

    -- and of whatever is made later, by a role, by one of its logins or by the owner
    for maker in
        select rolname from pg_roles
        where
            pg_has_role(oid, 'USAGE')
            and (
                rolname in (current_user, 'daybook_loader', 'daybook_transformer')
                or oid in (
                    select member from pg_auth_members
                    where roleid in ('daybook_loader'::regrole, 'daybook_transformer'::regrole)
                )
            )
    loop
        execute format(
            'alter default privileges for role %1$I in schema bronze
                grant select on tables to daybook_transformer;
            alter default privileges for role %1$I in schema metrics, marts
                grant select on tables to daybook_reader;
            alter default privileges for role %1$I
                in schema intermediate, silver, quarantine, metrics, marts
                grant select, insert, update, delete, truncate on tables to daybook_transformer',
            maker
        );
    end loop;

    -- a run's lock is an advisory one, which by default every login can take
    for lock_function in
        select oid::regprocedure from pg_proc
        where pronamespace = 'pg_catalog'::regnamespace
            and proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
            and (select rolsuper from pg_roles where rolname = current_user)
    loop
        execute format('revoke execute on function %s from public', lock_function);
        execute format(
            'grant execute on function %s to daybook_loader, daybook_transformer', lock_function
        );
    end loop;
    if has_function_privilege('daybook_reader', 'pg_advisory_lock(bigint)', 'execute') then
        raise warning 'any login of this database can take the lock of a run: only the superuser'
            ' that made this server can forbid it, by running migrate';
    end if;
exception
    when insufficient_privilege then
        raise warning 'roles daybook_loader, daybook_transformer and daybook_reader were not set up: %:'
            ' a superuser makes them and grants them to %, then migrate again', sqlerrm, current_user;
end
$roles$;
