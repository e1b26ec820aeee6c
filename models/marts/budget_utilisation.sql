{{
    config(
        unique_key='budget_id',
        tags=['budgets'],
        meta={'pipeline': 'marts', 'tables': ['stg_budgets'], 'whole': true},
    )
}}

with budgets as (

    select * from {{ ref('budgets') }}

)

select
    budget_id,
    name,
    limit_amount,
    spent_total,
    round(spent_total / nullif(limit_amount, 0), 4) as share
from budgets
