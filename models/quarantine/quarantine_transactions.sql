{{
    config(
        alias='transactions',
        tags=['transactions'],
        pre_hook=[
            "{{ forget_pending('transactions', ['stg_transactions']) }}",
            "{{ forget_rechecked(ref('int_transactions_pending')) }}",
        ],
    )
}}

{{ quarantined(ref('int_transactions_pending'), 'stg_transactions') }}
