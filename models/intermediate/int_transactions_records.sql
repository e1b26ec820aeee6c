-- A record is converted once it is typed. When rates change, the days with a record that they change
-- are taken in again from what is here: bronze may have let them go.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['transactions'],
        indexes=[{'columns': ['transaction_id', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'transactions', 'tables': ['stg_transactions']},
    )
}}

{% set rates %}
    (
        select
            hashtextextended(
                concat_ws(
                    '|',
                    '{{ fx_priority() | join(",") }}',
                    (select extract(epoch from max(state.loaded_at))::text from {{ source('ledger', 'fx_reference_state') }} as state),
                    (
                        select string_agg(applied.day || ':' || applied.batch_id, ',' order by applied.day)
                        from {{ source('control', 'applied_batches') }} as applied
                        where applied.model = 'fx_rates'
                    )
                ),
                0
            )
    )
{% endset %}

{% set held_records %}
    (
        select _day, currency, occurred_time, exchange_rate, fx_source as held_source, fx_rate as held_rate, fx_date as held_date
        from {{ this }}
        where currency <> 'USD'
    )
{% endset %}

{% set rated_otherwise %}
    {{ mark_changed(rates) }}
    and held.day in (
        select rated._day
        from ({{ rated(held_records, ref('fx_rates'), source('ledger', 'fx_reference')) }}) as rated
        where (rated.fx_source, rated.fx_rate, rated.fx_date) is distinct from (rated.held_source, rated.held_rate, rated.held_date)
    )
{% endset %}

{% set work = plan(again=rated_otherwise, mark=rates) %}

with typed as (

    select
        transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id, user_uuid,
        user_name, raw_merchant_name, merchant_name, card_id, card_uuid, budget_id, budget_uuid, amount_minor,
        child_transaction_ids, exponent, currency, exchange_rate, original_amount, idempotency_key, _errors,
        _landed, _extra, _day, _batch_id, _source_file,
        _source_row
    from {{ ref('int_transactions_typed') }}
    where {{ work.is_pending }}
    {%- if work.again %}
    union all
    select
        transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id, user_uuid,
        user_name, raw_merchant_name, merchant_name, card_id, card_uuid, budget_id, budget_uuid, amount_minor,
        child_transaction_ids, exponent, currency, exchange_rate, original_amount, idempotency_key,
        array_remove(_errors, 'no_rate') as _errors,
        _landed, _extra, _day, _batch_id, _source_file,
        _source_row
    from {{ this }} as held
    where _day = any({{ work.days }}) and _batch_id = any({{ array_of(work.again, 'bigint') }})
    {%- endif %}

),

rated as (

    {{ rated('typed', ref('fx_rates'), source('ledger', 'fx_reference')) }}

),

converted as (

    select
        transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id, user_uuid,
        user_name, raw_merchant_name, merchant_name, card_id, card_uuid, budget_id, budget_uuid, amount_minor,
        child_transaction_ids, exponent, currency, exchange_rate, original_amount, idempotency_key, fx_source,
        fx_rate, fx_date,
        round(original_amount * fx_rate, 4) as amount_usd,
        case when currency is not null and fx_source is null then _errors || 'no_rate'::text else _errors end as _errors,
        _landed,
        _extra,
        'stg_transactions' as _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from rated

),

judged as (

    {{ judge('converted', 'stg_transactions', last_write='extract(epoch from updated_time)') }}

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
    exchange_rate,
    original_amount,
    idempotency_key,
    fx_source,
    fx_rate,
    fx_date,
    amount_usd,
    _outcome,
    _errors,
    _landed,
    _extra,
    _hash,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
