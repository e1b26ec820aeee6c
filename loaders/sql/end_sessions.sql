-- A run's sessions in all processes end. Those of its lock and of its record stay.
select pg_terminate_backend(pid)
from pg_stat_activity
where pid <> pg_backend_pid()
    and datname = current_database()
    and application_name like '%%' || %s || '%%'
    and application_name not like 'daybook run %%'
    and application_name not like 'daybook flow %%'
