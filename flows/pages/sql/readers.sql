-- What is built from silver and has all of a key's columns.
select layer, relname as name
from unnest(array['silver', 'metrics', 'marts']) with ordinality as layers (layer, nth)
inner join pg_class on relnamespace = to_regnamespace(layer) and relkind in ('r', 'v', 'm')
where (layer, relname) <> ('silver', %(entity)s)
    and %(key)s::text[] <@ array(
        select attname::text from pg_attribute where attrelid = pg_class.oid and attnum > 0
    )
order by nth, relname
