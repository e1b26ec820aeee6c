-- What is built, and its columns.
select format('%I.%I', nspname, relname), array_agg(attname::text)
from pg_class
inner join pg_namespace on pg_namespace.oid = relnamespace
inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where nspname in ('intermediate', 'silver', 'metrics', 'marts') and relkind = 'r'
group by nspname, relname
