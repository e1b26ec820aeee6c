-- A table's landed day, and the nearest landed one before it: the newest first.
with batches as (
    select * from bronze.load_batches
    where table_name = %(table)s and day <= %(day)s and status <> 'running'
),

landed as (
    select distinct on (day) *
    from batches
    where rows_landed is not null and status in ('succeeded', 'skipped')
    order by day desc, batch_id desc
)

select
    day,
    case
        when
            to_regclass('bronze.' || table_name || '_p' || to_char(day, 'YYYYMMDD')) is not null
            and 'failed' <> (
                select status from batches
                where batches.day = landed.day
                order by batch_id desc
                limit 1
            )
            then fingerprint
        else ''
    end,
    case day when %(day)s then source_files end,
    rows_in_files, rows_rejected,
    coalesce(
        drift,
        (
            select '{}'::jsonb from batches as earlier
            where earlier.day <= landed.day and earlier.rows_in_files > 0
            limit 1
        )
    ),
    flow_run_id
from landed
where status = 'succeeded'
order by day desc
limit 2
