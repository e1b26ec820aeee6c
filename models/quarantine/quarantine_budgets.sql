{{
    config(
        alias='budgets',
        tags=['budgets'],
        pre_hook="{{ forget_pending('budgets', ['stg_budgets']) }}",
    )
}}

{{ quarantined(ref('int_budgets_pending'), 'stg_budgets') }}
