-- The sessions that hold tables of these schemas: name and pid of each.
select string_agg(distinct coalesce(nullif(application_name, ''), 'an unnamed session') || ' (pid ' || pid || ')', ', ')
from pg_locks
join pg_stat_activity using (pid)
join pg_class on pg_class.oid = pg_locks.relation
where pg_locks.database = (select oid from pg_database where datname = current_database())
    and pg_locks.granted
    and relnamespace::regnamespace::text = any(%s)
    and pid <> pg_backend_pid()
