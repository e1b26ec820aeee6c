-- What a run's time went into, in order: phases and what was spent beside them (imports, parsing),
-- landings and dbt nodes, with what they waited for. `begins` and `ends`: seconds from the first
-- beginning. The phases that are all landings or nodes are left out.
with bars as (
    select
        'phase' as kind, phase as name, null::text[] as depends_on,
        finished_at - seconds * interval '1 second' as started_at, finished_at
    from metrics.phase_runs
    where flow_run_id = %(run)s and phase not in ('day-pipeline', 'land-day', 'transform-day')
    union all
    select 'landing', table_name, null, started_at, finished_at
    from bronze.load_batches
    where flow_run_id = %(run)s and status not in ('skipped', 'unused')
    union all
    select 'dbt', node, depends_on, started_at, finished_at
    from metrics.node_runs
    where flow_run_id = %(run)s and resource_type not in ('operation', 'exposure')
),

on_one_clock as (
    select
        kind, name, coalesce(depends_on, '{}') as waited_for,
        extract(epoch from started_at - min(started_at) over ())::float8 as begins,
        extract(epoch from finished_at - min(started_at) over ())::float8 as ends
    from bars
    where started_at is not null and finished_at is not null
)

select *, ends - begins as seconds from on_one_clock
order by begins, ends, name
