-- What is built from silver and has all of a key's columns. Another's may have the same name: each model's
-- last build is asked for what it reads.
with recursive built as materialized (
    select distinct on (node)
        node,
        depends_on
    from metrics.node_runs
    where resource_type = 'model'
    order by node asc, started_at desc nulls last
),

downstream (node) as (
    -- anchor
    select unnest(array[%(entity)s, 'int_' || %(entity)s || '_records'])
    union
    -- step
    select built.node from built
    inner join downstream on downstream.node = any(built.depends_on)
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
        or relname not in (select node from built)
    )
order by nth, relname
