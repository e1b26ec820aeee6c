-- A missing day is one between the first and the last landed day on which the table never landed.

{{ config(materialized='view', tags=['metrics']) }}

with batches as (

    select * from {{ source('ledger', 'load_batches') }}
    where status <> 'unused'

),

-- the ledger of applied batches, not silver's: a landed table may have several targets
applied as (

    select distinct
        table_name,
        day,
        batch_id
    from {{ source('control', 'applied_batches') }}

),

days as (

    select day::date as day
    from generate_series((select min(batches.day) from batches), (select max(batches.day) from batches), interval '1 day') as span (day)

),

tables as (

    select distinct table_name from batches

),

attempts as (

    select
        table_name,
        day,
        count(*) filter (where status = 'succeeded') as landings,
        (array_agg(status order by batch_id desc))[1] as last_status,
        max(batch_id) filter (where status in ('succeeded', 'skipped') and rows_landed is not null) as batch_id,
        max(finished_at) as last_finished_at
    from batches
    group by table_name, day

)

select
    days.day,
    tables.table_name,
    case
        when attempts.last_status is null then 'missing'
        when attempts.last_status in ('failed', 'running') then attempts.last_status
        when attempts.last_status = 'skipped' then 'skipped'
        when attempts.landings > 1 then 're-run'
        else 'done'
    end as state,
    applied.batch_id is not null as is_applied,
    attempts.last_finished_at
from days
cross join tables
left join attempts on days.day = attempts.day and tables.table_name = attempts.table_name
left join applied
    on days.day = applied.day
    and tables.table_name = applied.table_name
    and attempts.batch_id = applied.batch_id
