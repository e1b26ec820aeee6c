-- depends_on: {{ ref('quarantine_transactions') }}

{{
    config(
        unique_key='transaction_id',
        tags=['transactions'],
        meta={
            'pipeline': 'transactions',
            'tables': ['stg_transactions'],
            'pending': 'int_transactions_pending',
            'order': ['updated_time'],
            'delta': true,
            'month': 'occurred_time',
            'recheck': 'rates_changed',
        },
        pre_hook=['{{ started() }}', '{{ refuse_other_rates() }}', '{{ note_changed_months() }}'],
        post_hook=['{{ account_first_build() }}', '{{ remember_rates() }}', '{{ transactions_indexes() }}'],
    )
}}

with pending as (

    select * from {{ ref('int_transactions_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

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
    clock_timestamp() as _updated_at
from latest
