{{ config(tags=['transactions']) }}

with typed as (

    {{
        typed_records(
            source('bronze', 'stg_transactions'),
            'stg_transactions',
            required=['transaction_id', 'transaction_uuid', 'occurred_time', 'currency', 'amount_minor', 'exponent'],
            arrays=['child_transaction_ids'],
            checks={
                'amount_minor_invalid': "typed.amount_minor is not null and landed.amount_minor !~ '^-?[0-9]+$'",
                'exponent_invalid': 'typed.exponent not between 0 and 8',
                'currency_invalid': 'typed.currency not in (select iso.currency from ' ~ ref('iso_4217') ~ ' as iso)',
                'no_rate': "typed.currency <> 'USD' and coalesce(typed.exchange_rate, 0) <= 0",
            },
        )
    }}

),

-- an exponent out of range is already an error: it must not fail the multiplication as well
rated as (

    select
        *,
        case when exponent between 0 and 8 then amount_minor * ('1e-' || exponent)::numeric end as original_amount,
        case when currency = 'USD' then 1 else exchange_rate end as fx_rate,
        case when currency = 'USD' then 'usd' else 'payload' end as fx_source,
        (occurred_time at time zone 'UTC')::date as fx_date
    from typed

)

select
    *,
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
    ) as idempotency_key
from rated
