-- Which batches this build works on. A table, not a view: every model of a build must see the
-- same batches, whatever lands meanwhile.

{{ config(materialized='table', tags=['agents', 'groups', 'transactions', 'roles', 'budgets', 'cards', 'metrics']) }}

with load_batches as (

    select * from {{ source('ledger', 'load_batches') }}

),

applied_batches as (

    select distinct
        table_name,
        day,
        batch_id
    from {{ source('control', 'applied_batches') }}

),

newest_attempts as (

    select distinct on (table_name, day)
        table_name,
        day,
        status
    from load_batches
    order by table_name asc, day asc, batch_id desc

),

-- A batch that was skipped holds zero rows when it dropped what the day had landed before.
current_batches as (

    select distinct on (table_name, day)
        table_name,
        day,
        batch_id,
        rows_landed
    from load_batches
    where status in ('succeeded', 'skipped') and rows_landed is not null
    order by table_name asc, day asc, batch_id desc

),

whole_days as (

    select day
    from newest_attempts
    where status in ('succeeded', 'unchanged') and table_name in {{ required_tables() }}
    group by day
    having count(*) = {{ required_tables(count=true) }}

)

select
    current_batches.table_name,
    current_batches.day,
    current_batches.batch_id,
    current_batches.rows_landed,
    coalesce(
        {{ app_day() }} is null
        or current_batches.day = {{ app_day() }}
        -- what this day said before is gone from bronze: no day can be worked out without it
        or exists (
            select 1 from applied_batches
            where applied_batches.table_name = current_batches.table_name
                and applied_batches.day = current_batches.day
                and applied_batches.batch_id <> current_batches.batch_id
        ),
        false
    ) as in_scope,
    whole_days.day is not null as is_whole_day
from current_batches
left join whole_days on current_batches.day = whole_days.day
-- rows that were applied and then expired are not there to be read again
where current_batches.batch_id not in (select batch_id from {{ source('ledger', 'expired_days') }})
