-- What is built from silver and has all of a key's columns. Another's may have the same name: what the
-- last runs built is asked for what it reads.
with recursive downstream (node) as (
    -- anchor
    select unnest(array[%(entity)s, 'int_' || %(entity)s || '_records'])
    union
    -- step
    select runs.node from metrics.node_runs as runs
    inner join downstream on downstream.node = any(runs.depends_on)
)

select layer, relname as name
from unnest(array['silver', 'metrics', 'marts']) with ordinality as layers (layer, nth)
inner join pg_class on relnamespace = to_regnamespace(layer) and relkind in ('r', 'v', 'm')
where (layer, relname) <> ('silver', %(entity)s)
    and %(key)s::text[] <@ array(
        select attname::text from pg_attribute where attrelid = pg_class.oid and attnum > 0
    )
    and (
        relname in (select node from downstream)
        or relname not in (select node from metrics.node_runs)
    )
order by nth, relname
