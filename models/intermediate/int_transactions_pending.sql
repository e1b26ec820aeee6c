{{ config(materialized='table', unlogged=true, tags=['transactions']) }}

{{
    pending_records(
        model='transactions',
        key=['transaction_id'],
        order=['updated_time'],
        records=[
            {
                'typed': ref('int_transactions_typed'),
                'table': 'stg_transactions',
                'derived': [
                    'original_amount', 'fx_rate', 'fx_source', 'fx_date', 'amount_usd', 'idempotency_key',
                ],
            },
        ],
    )
}}
