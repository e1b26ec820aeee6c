-- A child is named by its id: an authorization would count beside a clearing that an object names.
-- An exponent out of range is already an error: it must not fail the multiplication as well. Where a
-- rate may be missing, the landed record is kept too.

{{ config(tags=['transactions']) }}

with typed as (

    {{
        typed_records(
            'stg_transactions',
            required=['transaction_id', 'transaction_uuid', 'occurred_time', 'currency', 'amount_minor', 'exponent'],
            arrays=['child_transaction_ids'],
            checks={
                'amount_minor_invalid': "typed.amount_minor is not null and ((typed._record).amount_minor !~ '^[-+]?[0-9]+([.]0+)?$' or length((typed._record).amount_minor) > 1000)",
                'exponent_invalid': 'typed.exponent not between 0 and 8',
                'child_transaction_ids_invalid': "typed.child_transaction_ids @? 'strict $[*] ? (@.type() == \"object\" || @.type() == \"array\" || @.type() == \"boolean\")'",
                'currency_invalid': 'typed.currency not in (select iso.currency from ' ~ ref('iso_4217') ~ ' as iso)',
            },
            keep_landed="cardinality(checked._errors) > 0 or checked.currency <> 'USD' and coalesce(checked.exchange_rate, 0) <= 0",
        )
    }}

),

priced as (

    select
        *,
        case when exponent between 0 and 8 then amount_minor * ('1e-' || exponent)::numeric end as original_amount
    from typed

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
    _errors,
    _landed,
    _extra,
    _day,
    _batch_id,
    _source_file,
    _source_row
from priced
