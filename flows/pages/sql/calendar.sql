-- The last 400 days, each with the worst `state` of its tables and its last run, but for runs that
-- were asked for a day of the other calendar. A table that failed while the run went on leaves its
-- day incomplete. A day is late that first landed after a later one had; days in one state that
-- follow each other have the same `span`. `changed`, the mean time of all that became of a day, is
-- another one whenever something new did, also where the clock has been set back.
with last_runs as (
    select distinct on (runs.day)
        runs.day, runs.status, runs.finished_at
    from metrics.pipeline_metrics as runs
    left join metrics.phase_runs as asked
        on runs.flow_run_id = asked.flow_run_id and asked.phase = 'day-pipeline'
    where runs.task_name = 'day-pipeline'
        and coalesce(starts_with(asked.settings ->> 'day', 'day') = (%(kind)s = 'numbered'), true)
    order by runs.day, runs.id desc
),

states as (
    select
        tables.day,
        case
            when tables.state = 'failed'
                and last_runs.status = 'success'
                and tables.last_finished_at <= last_runs.finished_at then 'incomplete'
            else tables.state
        end as state
    from metrics.day_calendar as tables
    left join last_runs using (day)
    union all
    select day, case status when 'failure' then 'failed' else status end from last_runs
),

arrivals as (
    select
        day,
        min(batch_id) > min(min(batch_id)) over (
            order by day rows between 1 following and unbounded following
        ) as is_late
    from bronze.load_batches
    where status = 'succeeded'
    group by day
),

changes as (
    select day, to_timestamp(avg(extract(epoch from changed_at))) as changed
    from (
        select day, coalesce(finished_at, started_at) from metrics.pipeline_metrics
        where task_name = 'day-pipeline'
        union all
        select day, finished_at from bronze.load_batches
        union all
        select day, applied_at from metrics.applied_batches
    ) as happened (day, changed_at)
    group by day
),

newest as (
    select
        day, max(changed) as changed,
        coalesce(bool_or(arrivals.is_late), false) as is_late,
        case
            when bool_or(state = 'running') then 'running'
            when bool_or(state = 'failed') then 'failed'
            when bool_or(state = 'incomplete') then 'incomplete'
            when bool_or(state = 're-run') then 're-run'
            when bool_or(state in ('done', 'success')) then 'done'
            else 'missing'
        end as state
    from states
    left join arrivals using (day)
    left join changes using (day)
    where day is not null
    group by day
    order by day desc
    limit 400
)

select
    *, date_trunc('month', day::timestamp)::date as month,
    day - row_number() over (partition by state order by day)::integer as span
from newest
order by day
