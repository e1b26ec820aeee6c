-- What is built from silver and has all of a key's columns.
select relnamespace::regnamespace::text as layer, relname as name from pg_class
where relnamespace::regnamespace::text = any(array['silver', 'metrics', 'marts']) and relkind in ('r', 'v', 'm')
    and (relnamespace::regnamespace::text, relname) <> ('silver', %(entity)s)
    and %(key)s::text[] <@ array(
        select attname::text from pg_attribute where attrelid = pg_class.oid and attnum > 0
    )
order by array_position(array['silver', 'metrics', 'marts'], relnamespace::regnamespace::text), relname
