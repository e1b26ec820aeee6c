-- The sessions that hold tables whose schema.name is like one of these: each one's name, pid and user.
select string_agg(distinct concat(coalesce(nullif(application_name, ''), 'an unnamed session'), ' (pid ', pid, ', user ' || usename, ')'), ', ')
from pg_locks
join pg_stat_activity using (pid)
join pg_class on pg_class.oid = pg_locks.relation
where pg_locks.database = (select oid from pg_database where datname = current_database())
    and pg_locks.granted
    and relnamespace::regnamespace || '.' || relname like any(%s)
    and pid <> pg_backend_pid()
