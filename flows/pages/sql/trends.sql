-- What the last days brought, by landed table and by what is built of them: as it was when each
-- day was last applied, from what runs noted, so that no record is read.
with landed as (
    select distinct on (table_name, day)
        table_name, day, rows_landed, coalesce(rows_rejected, 0) as rows_rejected,
        finished_at, day > max(day) over () - 60 as is_recent
    from bronze.load_batches
    where status = 'succeeded'
    order by table_name, day, batch_id desc
),

came_to as (
    select distinct on (task_name, table_name, day) *
    from metrics.pipeline_metrics
    where status = 'success' and rows_landed > 0 and task_name <> 'land-table'
    order by task_name, table_name, day, id desc
)

select
    page.name, landed.day, max(landed.finished_at) as finished_at,
    sum(landed.rows_landed) as landed, sum(landed.rows_rejected) as rejected,
    coalesce(sum(rows_inserted), 0) as inserted, coalesce(sum(rows_updated), 0) as updated,
    coalesce(sum(rows_unchanged), 0) as unchanged, coalesce(sum(rows_stale), 0) as stale,
    coalesce(sum(rows_duplicate), 0) as duplicate,
    coalesce(sum(rows_quarantined), 0) as quarantined
from landed
left join came_to using (table_name, day)
cross join lateral (values (table_name), (task_name)) as page (name)
-- what a list of members names is counted in members, not in rows of its table
where landed.is_recent
    and (page.name, task_name) is distinct from ('stg_groups', 'group_memberships')
group by page.name, landed.day
order by landed.day
