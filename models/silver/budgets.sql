-- depends_on: {{ ref('quarantine_budgets') }}

{{
    config(
        unique_key='budget_id',
        tags=['budgets'],
        meta={
            'pipeline': 'budgets',
            'tables': ['stg_budgets'],
            'pending': 'int_budgets_pending',
            'order': [],
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_build() }}',
    )
}}

with pending as (

    select * from {{ ref('int_budgets_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

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
