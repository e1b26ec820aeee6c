-- Relations of some schemas that are named so and hang on no parent, but for the tables of workers
-- whose batch is running.
select relnamespace::regnamespace::text, relname, relkind
from pg_class
where relkind in ('r', 'v')
    and not relispartition
    and relnamespace::regnamespace::text = any(%(schemas)s)
    and relname ~ %(named)s
    and not exists (
        select from bronze.load_batches
        where status = 'running' and relname ~ ('_' || batch_id || '_[0-9]+$')
    )
order by 1, 2
