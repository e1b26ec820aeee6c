{{ config(tags=['budgets']) }}

{{
    typed_records(
        'stg_budgets',
        required=['budget_id', 'name'],
        checks={
            'limit_amount_invalid': 'typed.limit_amount < 0 or typed.limit_amount >= 1e1000',
            'spent_total_invalid': 'abs(typed.spent_total) >= 1e1000',
        },
    )
}}
