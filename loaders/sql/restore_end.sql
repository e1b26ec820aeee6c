-- Check and commit, while the session {holder} still holds the run lock.
{compare};
do $$
begin
    if (select max(version_num) from bronze.alembic_version) > '{newest}' then
        raise exception 'it was saved by a newer Daybook: update this one';
    elsif (select max(version_num) from bronze.alembic_version) < '{first}' then
        raise exception 'it was saved by an older Daybook: restore it with that one, and come over'
            ' as CHANGELOG.md says';
    elsif not exists (select from pg_stat_activity where application_name = '{holder}') then
        raise exception 'the restore that began this was ended';
    end if;
end
$$;
drop table bronze.backup_hashes;
-- It has no owners and rights before it is migrated, and says so.
comment on table bronze.alembic_version is null;
commit;
\echo restored
