{{
    config(
        materialized='table',
        unlogged=true,
        tags=['transactions'],
        post_hook='{{ remember_rates() }}',
    )
}}

-- depends_on: {{ ref('fx_rates') }}
-- depends_on: {{ source('ledger', 'fx_reference') }}
{% set rates_changed = rates_changed() %}

{{
    pending_records(
        model='transactions',
        key=['transaction_id'],
        order=['updated_time'],
        recheck=transactions_to_rate_again() if rates_changed else '',
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
