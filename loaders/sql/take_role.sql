-- Set the session's role, where the login is a member and no superuser. Gives what is wrong with
-- the server or the login, if anything.
select
    case
        when current_setting('client_connection_check_interval') <> '500ms'
            then 'it takes no settings of a session: ' || %s
        when pg_is_in_recovery() then 'it is a standby: name its primary'
        when current_setting('transaction_read_only')::boolean
            then 'its sessions are read only (default_transaction_read_only)'
        when not (
            select bool_or(pg_has_role(session_user, oid, 'SET')) from pg_roles
            where rolname in (%s, %s)
        ) and not (
            select pg_has_role(session_user, nspowner, 'USAGE') from pg_namespace
            where nspname = 'bronze'
        )
            then %s
    end,
    (
        select set_config('role', rolname, false) from pg_roles
        where rolname = %s and pg_has_role(session_user, oid, 'SET')
            and not (select rolsuper from pg_roles where rolname = session_user)
    )
