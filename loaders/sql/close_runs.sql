-- A run's own row, its newest where Prefect has tried again, is closed; without a run all that are
-- still `running`.
update metrics.pipeline_metrics
set
    status = %(status)s,
    error_message = %(message)s,
    finished_at = clock_timestamp(),
    duration_seconds = greatest(extract(epoch from clock_timestamp() - started_at), 0.000001)
where task_name = 'day-pipeline' and case
    when %(run)s::text is null then status = 'running'
    else id = (
        select max(id) from metrics.pipeline_metrics
        where task_name = 'day-pipeline' and flow_run_id = %(run)s
    )
end
returning flow_run_id
