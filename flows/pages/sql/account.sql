-- What a run brought, in the order of `declared`: a row a landed table, with what came of it in the
-- target of its own name, then a row each other target (whose `status` is null) with a figure.
-- `name`: what people see of it.
with landed as (
    select
        table_name, status,
        case when status = 'succeeded' then rows_landed end as landed,
        case when status = 'succeeded' then rows_rejected end as rejected
    from bronze.load_batches
    where status <> 'unused' and batch_id in (
        select max(batch_id) from bronze.load_batches
        where flow_run_id = %(run)s and day = %(day)s
        group by table_name
    )
),

built as (
    select
        table_name, task_name as target,
        task_name in (regexp_replace(table_name, '^stg_', ''), 'match-names') as is_own,
        sum(rows_inserted)::bigint as new, sum(rows_updated)::bigint as changed,
        sum(rows_deleted)::bigint as gone, sum(rows_unchanged)::bigint as unchanged,
        sum(rows_stale)::bigint as stale, sum(rows_duplicate)::bigint as duplicate,
        sum(rows_quarantined)::bigint as quarantined
    from metrics.pipeline_metrics
    where flow_run_id = %(run)s
        and status = 'success'
        and task_name not in ('land-table', 'day-pipeline')
        and not starts_with(task_name, 'int_')
        and table_name is not null
    group by table_name, task_name
),

lines as (
    select
        table_name, regexp_replace(table_name, '^stg_', '') as name, coalesce(status, '') as status,
        landed, rejected, target,
        new, changed, gone, unchanged, stale, duplicate, quarantined
    from (select table_name from landed union select table_name from built) as tables
    left join landed using (table_name)
    left join (select * from built where is_own) as own using (table_name)
    union all
    select
        table_name, '  ' || target, null, null, null, target,
        new, changed, gone, unchanged, stale, duplicate, quarantined
    from built
    where not is_own and new + changed + gone + unchanged + stale + duplicate + quarantined > 0
)

select * from lines
order by
    array_position(%(declared)s::text[], table_name), table_name, status is null, target
