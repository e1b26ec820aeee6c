-- A record is converted once it is typed. When rates change, the days with a record that they change
-- are taken in again from what is here: bronze may have let them go.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['transactions'],
        indexes=[{'columns': ['transaction_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'transactions', 'tables': ['stg_transactions']},
    )
}}

{% set priority = (env_var('DAYBOOK_FX_PRIORITY', '').replace(' ', '') or 'reference,payload').split(',') %}
{{ exceptions.raise_compiler_error('DAYBOOK_FX_PRIORITY names reference and payload, in the order to ask them: reference,payload') if priority | sort not in (['payload', 'reference'], ['payload'], ['reference']) }}

-- The rate of a row of `records`, its own or that of the transaction's UTC date, where the newest of at
-- most 7 days counts and a landed rate beats the European Central Bank's of the same date.
{% set rate_of_each %}
    -- a row from no table: Postgres expects few values of it, and looks each one's rate up once
    -- (an offset alone says the same, but there sqlfluff can't read it)
    cross join
        lateral (
            select
                nullif(records.currency, 'USD') as currency,
                (records.occurred_time at time zone 'UTC')::date as payload_date,
                -- what no product with an amount can make overflow
                case when records.exchange_rate > 0 and records.exchange_rate < 1e9 then records.exchange_rate end as payload_rate
            limit all offset 0
        ) as asked
    left join
        lateral (
            select
                quotes.usd_per_unit as reference_rate,
                quotes.rate_date as reference_date
            from (
                select currency, usd_per_unit, rate_date, 1 as precedence from {{ ref('fx_rates') }}
                union all
                select currency, usd_per_unit, rate_date, 0 as precedence from {{ source('ledger', 'fx_reference') }}
            ) as quotes
            where quotes.currency = asked.currency
                and quotes.rate_date between asked.payload_date - 7 and asked.payload_date
            order by quotes.rate_date desc, quotes.precedence desc
            limit 1
        ) as reference on true
    cross join
        lateral (
            select
                case
                    when records.currency = 'USD' then 'usd'
                    when {{ priority[0] }}_rate is not null then '{{ priority[0] }}'
                    when {{ priority[-1] }}_rate is not null then '{{ priority[-1] }}'
                end as fx_source,
                case when records.currency = 'USD' then 1 else coalesce({{ priority[0] }}_rate, {{ priority[-1] }}_rate) end as fx_rate,
                case
                    when {{ priority[0] }}_rate is not null then {{ priority[0] }}_date
                    when {{ priority[-1] }}_rate is not null then {{ priority[-1] }}_date
                    else payload_date
                end as fx_date
        ) as rate
{% endset %}

{% set rates %}
    (
        select
            hashtextextended(
                concat_ws(
                    '|',
                    '{{ priority | join(",") }}',
                    (select extract(epoch from max(state.loaded_at))::text from {{ source('ledger', 'fx_reference_state') }} as state),
                    string_agg(applied.day || ':' || applied.batch_id, ',' order by applied.day)
                ),
                0
            )
        from {{ source('control', 'applied_batches') }} as applied
        where applied.model = 'fx_rates'
    )
{% endset %}

{% set rated_otherwise %}
    {{ mark_changed(rates) }}
    and held.day in (
        select records._day
        from {{ this }} as records
        {{ rate_of_each }}
        where records.currency <> 'USD'
            and (rate.fx_source, rate.fx_rate, rate.fx_date) is distinct from (records.fx_source, records.fx_rate, records.fx_date)
    )
{% endset %}

{% set work = plan(again=rated_otherwise, mark=rates) %}

{% set carried = [
    'transaction_id', 'transaction_uuid', 'transaction_type', 'occurred_time', 'updated_time', 'user_id', 'user_uuid',
    'user_name', 'raw_merchant_name', 'merchant_name', 'card_id', 'card_uuid', 'budget_id', 'budget_uuid', 'amount_minor',
    'child_transaction_ids', 'exponent', 'currency', 'exchange_rate', 'original_amount', 'idempotency_key',
] %}

{% set worked_out_anew %}
    union all
    select {{ held_columns(carried) }}, array_remove(_errors, 'no_rate'), _landed, _extra, _day, _batch_id, _source_file, _source_row
    from {{ this }} as held
    where _day = any({{ work.days }}) and _batch_id = any({{ array_of(work.again, 'bigint') }})
{% endset %}

with typed as (

    select {{ carried | join(', ') }}, _errors as _typing_errors, _landed, _extra, _day, _batch_id, _source_file, _source_row
    from {{ ref('int_transactions_typed') }}
    where {{ work.is_pending }}
    {{ worked_out_anew if work.again }}

),

converted as (

    select
        records.*,
        rate.fx_source,
        rate.fx_rate,
        rate.fx_date,
        round(records.original_amount * rate.fx_rate, 4) as amount_usd,
        'stg_transactions' as _source_table,
        case
            when records.currency is not null and rate.fx_source is null then records._typing_errors || 'no_rate'::text
            else records._typing_errors
        end as _errors
    from typed as records
    {{ rate_of_each }}

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
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
