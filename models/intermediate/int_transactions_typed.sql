-- An exponent out of range is already an error: it must not fail the multiplication as well. Where a
-- rate may be missing, the landed record is kept too.

{{ config(tags=['transactions']) }}

with typed as (

    {{
        typed_records(
            source('bronze', 'stg_transactions'),
            'stg_transactions',
            required=['transaction_id', 'transaction_uuid', 'occurred_time', 'currency', 'amount_minor', 'exponent'],
            arrays=['child_transaction_ids'],
            checks={
                'transaction_id_invalid': is_too_long('typed.transaction_id'),
                'amount_minor_invalid': "typed.amount_minor is not null and (landed.amount_minor !~ '^-?[0-9]+$' or length(landed.amount_minor) > 1000)",
                'exponent_invalid': 'typed.exponent not between 0 and 8',
                'currency_invalid': 'typed.currency not in (select iso.currency from ' ~ ref('iso_4217') ~ ' as iso)',
            },
            derived={
                'original_amount': "case when typed.exponent between 0 and 8 then typed.amount_minor * ('1e-' || typed.exponent)::numeric end",
                'occurred_on': "(typed.occurred_time at time zone 'UTC')::date",
            },
            keep_landed="cardinality(checked._errors) > 0 or checked.currency <> 'USD' and coalesce(checked.exchange_rate, 0) <= 0",
        )
    }}

),

rated as (

    select
        typed.*,
        rates.usd_per_unit as reference_rate,
        rates.rate_date as reference_date,
        -- what no product with an amount can make overflow
        case when typed.exchange_rate > 0 and typed.exchange_rate < 1e9 then typed.exchange_rate end as payload_rate
    from typed
    -- a row from no table: Postgres expects few values of it, and looks each one's rate up once
    -- (an offset alone says the same, but there sqlfluff can't read it)
    cross join
        lateral (select nullif(typed.currency, 'USD') as currency, typed.occurred_on limit all offset 0) as asked
    left join
        lateral (
            {{ reference_rate('asked.currency', 'asked.occurred_on') }}
        ) as rates
        on true

),

chosen as (

    select
        *,
        case
            when currency = 'USD' then 'usd'
            {%- for source in fx_priority() %}
            when {{ source }}_rate is not null then '{{ source }}'
            {%- endfor %}
        end as fx_source
    from rated

),

converted as (

    select
        *,
        case fx_source when 'usd' then 1 when 'reference' then reference_rate when 'payload' then payload_rate end as fx_rate,
        case fx_source when 'reference' then reference_date else occurred_on end as fx_date
    from chosen

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
    fx_source,
    fx_rate,
    fx_date,
    round(original_amount * fx_rate, 4) as amount_usd,
    encode(
        sha256(
            convert_to(
                concat_ws(
                    chr(31),
                    transaction_id,
                    transaction_uuid,
                    to_char(occurred_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                    trim_scale(original_amount)::text,
                    currency
                ),
                'UTF8'
            )
        ),
        'hex'
    ) as idempotency_key,
    case when currency is not null and fx_source is null then _errors || 'no_rate'::text else _errors end as _errors,
    _landed,
    _extra,
    _day,
    _batch_id,
    _source_file,
    _source_row
from converted
