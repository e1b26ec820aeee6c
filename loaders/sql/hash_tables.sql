-- Keep the {hash} of each table's rows. A landed day is a partition, so it counts as a table.
drop table if exists bronze.backup_hashes;
create table bronze.backup_hashes (
    relation text primary key,
    rows bigint not null,
    hash numeric not null
);
do $$
declare
    relation text;
begin
    for relation in
        -- with its schema, whatever the search path: a restore has none
        select format('%I.%I', relnamespace::regnamespace, relname) from pg_class
        where relkind = 'r' and pg_class.oid <> 'bronze.backup_hashes'::regclass
            and relnamespace::regnamespace::text = any('{{{schemas}}}')
    loop
        execute format(
            'insert into bronze.backup_hashes select %1$L, {hash} from %1$s as held', relation
        );
    end loop;
end
$$
