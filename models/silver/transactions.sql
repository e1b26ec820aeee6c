{{
    config(
        unique_key='transaction_id',
        tags=['transactions'],
        indexes=[{'columns': ['occurred_time'], 'type': 'brin'}],
        meta={'pipeline': 'transactions', 'tables': ['stg_transactions'], 'records': 'int_transactions_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_transactions_records'), 'transaction_id') }}

)

select
    transaction_id,
    transaction_uuid,
    transaction_type,
    occurred_time,
    updated_time,
    user_id,
    user_uuid,
    user_name,
    raw_merchant_name,
    merchant_name,
    card_id,
    card_uuid,
    budget_id,
    budget_uuid,
    amount_minor,
    child_transaction_ids,
    exponent,
    currency,
    original_amount,
    currency as original_currency,
    fx_rate as exchange_rate,
    amount_usd,
    fx_source,
    fx_date,
    idempotency_key,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from latest
