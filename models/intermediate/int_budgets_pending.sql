{{ config(materialized='table', unlogged=true, tags=['budgets']) }}

{{
    pending_records(
        model='budgets',
        key=['budget_id'],
        order=[],
        records=[{'typed': ref('int_budgets_typed'), 'table': 'stg_budgets'}],
    )
}}
