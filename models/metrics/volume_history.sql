-- What checks and pages compare a day with.

{{ config(materialized='view', tags=['metrics']) }}

with batches as (

    select distinct on (table_name, day) *
    from {{ source('ledger', 'load_batches') }}
    where status in ('succeeded', 'skipped') and rows_landed is not null
    order by table_name asc, day asc, batch_id desc

)

select
    table_name,
    day,
    rows_in_files,
    rows_rejected,
    rows_landed,
    lag(rows_landed) over (partition by table_name order by day) as rows_landed_before,
    recent.median as median_of_14_days_before
from batches
left join lateral (
    select percentile_cont(0.5) within group (order by former.rows_landed) as median
    from (
        select earlier.rows_landed from batches as earlier
        where earlier.table_name = batches.table_name and earlier.day < batches.day
        order by earlier.day desc
        limit 14
    ) as former
) as recent on true
