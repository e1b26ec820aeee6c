{{ config(tags=['budgets']) }}

{{
    typed_records(
        source('bronze', 'stg_budgets'),
        'stg_budgets',
        required=['budget_id', 'name'],
        checks={'limit_amount_invalid': 'typed.limit_amount < 0'},
    )
}}
