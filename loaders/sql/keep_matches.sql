-- Keep what names mean, and count it in the run metrics in the same transaction.
with written as (
    insert into bronze.{table} as known ({name}, {match}, score, method)
    select * from found
    on conflict ({name}) do update
    set
        {match} = excluded.{match}, score = excluded.score, method = excluded.method,
        matched_at = clock_timestamp()
    where (known.{match}, known.score, known.method)
        is distinct from (excluded.{match}, excluded.score, excluded.method)
    returning (xmax = 0) as inserted
)

insert into metrics.pipeline_metrics (
    flow_run_id, task_name, pipeline_name, table_name, day, rows_inserted, rows_updated,
    rows_unchanged, status, started_at, finished_at, duration_seconds
)
select
    %(flow_run_id)s, 'match-names', 'matching', '{table}', %(day)s,
    count(*) filter (where inserted), count(*) filter (where not inserted),
    (select count(*) from found) - count(*), 'success', now(), clock_timestamp(),
    greatest(extract(epoch from clock_timestamp() - now()), 0.000001)
from written
