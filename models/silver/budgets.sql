{{
    config(
        unique_key='budget_id',
        tags=['budgets'],
        meta={'pipeline': 'budgets', 'tables': ['stg_budgets'], 'records': 'int_budgets_records'},
    )
}}

with records as not materialized (

    select * from {{ ref('int_budgets_records') }}

),

changed as (

    {{ changed_keys('records', ['budget_id'], plan()) }}

),

latest as (

    select winner.*
    from changed
    cross join
        lateral (
            select * from records
            where records.budget_id = changed.budget_id
                and records._outcome in ('inserted', 'updated', 'unchanged')
            order by records._day desc
            limit 1
        ) as winner

)

select
    budget_id,
    budget_uuid,
    name,
    description,
    retired,
    start_date,
    recurring_interval,
    timezone,
    limit_amount,
    overspend_buffer,
    assigned_amount,
    spent_cleared,
    spent_pending,
    spent_total,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
