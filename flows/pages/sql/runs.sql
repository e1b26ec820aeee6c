-- Runs of the flow, the newest first: of one day or any, one of them or (as many as `most` says)
-- all. `day_name` is the day as it was asked for, `prefect` where Prefect shows the run, `changed`
-- when there was last something new.
select
    runs.flow_run_id, runs.day, runs.status, runs.error_message, runs.started_at,
    runs.duration_seconds,
    asked.settings ->> 'day' as day_name,
    substring(asked.settings ->> 'prefect' from '^https?://.*') as prefect,
    coalesce(runs.finished_at, runs.started_at) as changed
from metrics.pipeline_metrics as runs
left join metrics.phase_runs as asked
    on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
where runs.task_name = 'day-pipeline'
    and runs.day = coalesce(%(day)s::date, runs.day)
    and runs.flow_run_id = coalesce(%(run)s::text, runs.flow_run_id)
order by runs.id desc
limit %(most)s
