{{
    config(
        alias='transactions',
        tags=['transactions'],
        pre_hook="{{ forget_pending('transactions', ['stg_transactions']) }}",
    )
}}

{{ quarantined(ref('int_transactions_pending'), 'stg_transactions') }}
