{{
    config(
        alias='budgets',
        tags=['budgets'],
        pre_hook=["{{ forget_pending('budgets', ['stg_budgets']) }}", "{{ forget_rechecked(ref('int_budgets_pending')) }}"],
    )
}}

{{ quarantined(ref('int_budgets_pending'), 'stg_budgets') }}
