-- The tables of figures that count people, those of them that have been built.
select relname
from pg_class
where relkind = 'r' and (
    relnamespace = to_regnamespace('marts') or oid = to_regclass('metrics.group_activity')
)
