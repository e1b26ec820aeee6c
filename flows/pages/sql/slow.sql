-- The ten slowest nodes of a run that have a median of their last 14 days, by how far they are
-- above it, but for what takes no time; on a first day, when none has one, the slowest.
with medians as (
    select node, percentile_cont(0.5) within group (order by seconds) as median
    from metrics.node_runs
    where started_at is not null and day in (
        select distinct day from metrics.node_runs
        where day < (select max(day) from metrics.node_runs where flow_run_id = %(run)s)
        order by day desc
        limit 14
    )
    group by node
),

nodes as (
    select
        node, seconds, median, seconds / nullif(median, 0) as times,
        count(nullif(median, 0)) over () as known,
        count(nullif(median, 0)) filter (where seconds >= 0.02) over () as long_enough
    from metrics.node_runs
    left join medians using (node)
    where flow_run_id = %(run)s and resource_type not in ('operation', 'exposure')
)

select node, seconds, median, times from nodes
where known = 0 or (times is not null and (seconds >= 0.02 or long_enough = 0))
order by case when known = 0 then seconds else times end desc, node
limit 10
