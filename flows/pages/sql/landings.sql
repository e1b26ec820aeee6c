-- What a run landed of a day, or (null) any run: the last of each table, in order. A file that no
-- table uses has a row as well, with status `unused`, of the last landing alone: it may be gone.
select
    table_name, status, rows_in_files, rows_rejected, started_at, finished_at, drift, error as why,
    coalesce(rows_landed, rows_in_files - rows_rejected) as rows_landed,
    (
        select count(*) from bronze.load_rejects as rejects
        where rejects.batch_id = batches.batch_id and rejects.landed
    ) as rows_repaired
from bronze.load_batches as batches
where batch_id in (
    select max(batch_id) from bronze.load_batches
    where flow_run_id = coalesce(%(run)s::text, flow_run_id) and day = %(day)s
    group by table_name
)
and (
    status <> 'unused'
    or flow_run_id = coalesce(
        %(run)s::text,
        (
            -- of those that landed the most tables: the others did not look at all files
            select flow_run_id from bronze.load_batches
            where day = %(day)s and status <> 'unused'
            group by flow_run_id
            order by count(distinct table_name) desc, max(batch_id) desc
            limit 1
        )
    )
)
order by table_name
