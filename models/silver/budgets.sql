{{
    config(
        unique_key='budget_id',
        tags=['budgets'],
        meta={'pipeline': 'budgets', 'tables': ['stg_budgets'], 'records': 'int_budgets_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_budgets_records'), 'budget_id') }}

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
    statement_timestamp() as _updated_at
from latest
