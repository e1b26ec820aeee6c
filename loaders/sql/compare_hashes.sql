-- Fail unless each table's rows have the {hash} that hash_tables.sql has kept.
do $$
declare
    saved record;
    is_same boolean;
begin
    for saved in select * from bronze.backup_hashes loop
        execute format(
            'select ({hash}) = ($1, $2) from %s as held', saved.relation
        ) into is_same using saved.rows, saved.hash;
        if not is_same then
            raise exception '% is not as it was saved', saved.relation;
        end if;
    end loop;
end
$$
