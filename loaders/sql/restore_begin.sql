-- `cascade` would also drop what depends on the warehouse from other schemas, such as a reader's
-- view: then the restore is refused.
begin;
create temporary table elsewhere on commit drop as
select oid, oid::regclass::text as name from pg_class
where relnamespace::regnamespace::text !~ '^pg_'
    and relnamespace::regnamespace::text <> all('{{{schemas}}}');
drop schema if exists {schemas} cascade;
do $$
declare
    lost text := (
        select string_agg(name, ', ' order by name) from elsewhere
        where oid not in (select oid from pg_class)
    );
begin
    if lost is not null then
        raise exception '% would be lost with what they read: drop them, and make them again after'
            ' the restore', lost;
    end if;
end
$$;
