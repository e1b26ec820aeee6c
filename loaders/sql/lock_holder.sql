-- Who holds the run lock: the session's name with its start, and its pid.
-- PostgreSQL doesn't tell another role's start to a login without pg_monitor.
select
    coalesce(nullif(sessions.application_name, ''), 'an unnamed session')
    || coalesce(to_char(backend_start, '" since "YYYY-MM-DD HH24:MI:SS" UTC"'), ''),
    sessions.pid
from pg_locks as locks
join pg_stat_activity as sessions on sessions.pid = locks.pid
where locks.locktype = 'advisory'
    and locks.database = (select oid from pg_database where datname = current_database())
    and locks.classid = 0
    and locks.objid = %s
    and locks.objsubid = 1
    and locks.granted
