{{ config(materialized='view', tags=['metrics']) }}

with pipeline_metrics as (

    select * from {{ source('control', 'pipeline_metrics') }}

)

select
    flow_run_id,
    min(day) as first_day,
    max(day) as last_day,
    coalesce(
        -- its own row, the newest: what Prefect tried again had failed before
        (array_agg(status order by id desc) filter (where task_name = 'day-pipeline'))[1],
        case when bool_or(status = 'failure') then 'failure' else 'success' end
    ) as status,
    count(*) filter (where status = 'failure') as failures,
    coalesce(sum(rows_landed) filter (where pipeline_name = 'landing'), 0)::bigint as rows_landed,
    sum(rows_inserted)::bigint as rows_inserted,
    sum(rows_updated)::bigint as rows_updated,
    sum(rows_deleted)::bigint as rows_deleted,
    sum(rows_unchanged)::bigint as rows_unchanged,
    sum(rows_stale)::bigint as rows_stale,
    sum(rows_duplicate)::bigint as rows_duplicate,
    sum(rows_quarantined)::bigint as rows_quarantined,
    sum(rows_released)::bigint as rows_released,
    min(started_at) as started_at,
    max(finished_at) as finished_at,
    extract(epoch from max(finished_at) - min(started_at))::double precision as seconds,
    -- what no batch brings stands on the day before day1
    {{ day_name("nullif(max(day), date '1970-01-01')") }} as day_name
from pipeline_metrics
group by flow_run_id
