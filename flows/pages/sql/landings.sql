-- What a run landed of a day, or (null) any run: the last of each table, in order. A file that no
-- table uses has a row as well, with status `unused`. `error` can quote a file, `why` never does.
select
    table_name, status, rows_in_files, rows_rejected, started_at, finished_at, drift, error,
    coalesce(rows_landed, rows_in_files - rows_rejected) as rows_landed,
    (
        select count(*) from bronze.load_rejects as rejects
        where rejects.batch_id = batches.batch_id and rejects.landed
    ) as rows_repaired,
    case status
        when 'unused' then error
        when 'failed' then (
            select error_message from metrics.pipeline_metrics as failures
            where failures.pipeline_name = 'landing'
                and failures.status = 'failure'
                and failures.flow_run_id = batches.flow_run_id
                and failures.table_name = batches.table_name
            order by id desc
            limit 1
        )
    end as why
from bronze.load_batches as batches
where batch_id in (
    select max(batch_id) from bronze.load_batches
    where flow_run_id = coalesce(%(run)s::text, flow_run_id) and day = %(day)s
    group by table_name
)
order by table_name
