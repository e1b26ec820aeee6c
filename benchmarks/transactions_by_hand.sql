-- What somebody who knows the rules would write for one day, :'day', in one transaction.

create temp table rates on commit drop as
select
    asked.currency,
    asked.occurred_on,
    found.usd_per_unit,
    found.rate_date
from (
    select distinct
        currency,
        (occurred_time::timestamptz at time zone 'UTC')::date as occurred_on
    from bronze.stg_transactions
    where _day = :'day'
        and currency <> 'USD'
        and occurred_time ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$'
        and pg_input_is_valid(occurred_time, 'timestamptz')
) as asked
cross join lateral (
    select usd_per_unit, rate_date
    from bronze.fx_reference
    where fx_reference.currency = asked.currency
        and fx_reference.rate_date between asked.occurred_on - 7 and asked.occurred_on
    order by rate_date desc
    limit 1
) as found;

analyze rates;

create temp table typed on commit drop as
with cast_once as (
    select
        landed.*,
        typed.*
    from bronze.stg_transactions as landed
    cross join lateral (
        select
            case
                when landed.occurred_time ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?$'
                    and pg_input_is_valid(landed.occurred_time, 'timestamptz')
                    then case when landed.occurred_time ~ '(Z|[T ].*[-+][0-9:]+)$' then landed.occurred_time else landed.occurred_time || ' UTC' end::timestamptz
            end as occurred,
            case
                when landed.updated_time ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?$'
                    and pg_input_is_valid(landed.updated_time, 'timestamptz')
                    then case when landed.updated_time ~ '(Z|[T ].*[-+][0-9:]+)$' then landed.updated_time else landed.updated_time || ' UTC' end::timestamptz
            end as updated,
            case when landed.amount_minor ~ '^-?[0-9]+$' then landed.amount_minor::numeric end as minor,
            case when landed.exponent ~ '^[0-8]$' then landed.exponent::integer end as places,
            case
                when landed.exchange_rate ~ '^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$' and pg_input_is_valid(landed.exchange_rate, 'numeric')
                    then trim_scale(landed.exchange_rate::numeric)
            end as payload_rate,
            case
                when landed.child_transaction_ids ~ '\S' and pg_input_is_valid(landed.child_transaction_ids, 'jsonb')
                    then nullif(landed.child_transaction_ids::jsonb, 'null')
            end as children
        offset 0
    ) as typed
    where landed._day = :'day'
),

rated as (
    select
        cast_once.*,
        minor * ('1e-' || places)::numeric as original_amount,
        case when cast_once.currency = 'USD' then 1 when rates.usd_per_unit is not null then rates.usd_per_unit when payload_rate > 0 then payload_rate end as rate,
        case when cast_once.currency = 'USD' then 'usd' when rates.usd_per_unit is not null then 'reference' when payload_rate > 0 then 'payload' end as fx_source,
        coalesce(rates.rate_date, (occurred at time zone 'UTC')::date) as fx_date,
        iso.currency is not null as is_currency
    from cast_once
    left join rates on cast_once.currency = rates.currency and (occurred at time zone 'UTC')::date = rates.occurred_on
    left join intermediate.iso_4217 as iso on cast_once.currency = iso.currency
)

select
    *,
    array_remove(
        array[
            case when coalesce(transaction_id, '') !~ '\S' then 'transaction_id_missing' end,
            case when coalesce(transaction_uuid, '') !~ '\S' then 'transaction_uuid_missing' end,
            case when occurred is null and occurred_time ~ '\S' then 'occurred_time_invalid' end,
            case when coalesce(occurred_time, '') !~ '\S' then 'occurred_time_missing' end,
            case when updated is null and updated_time ~ '\S' then 'updated_time_invalid' end,
            case when minor is null and amount_minor ~ '\S' then 'amount_minor_invalid' end,
            case when coalesce(amount_minor, '') !~ '\S' then 'amount_minor_missing' end,
            case when (children is null and child_transaction_ids ~ '\S' and btrim(child_transaction_ids) <> 'null') or jsonb_typeof(children) <> 'array' then 'child_transaction_ids_invalid' end,
            case when places is null and exponent ~ '\S' then 'exponent_invalid' end,
            case when coalesce(exponent, '') !~ '\S' then 'exponent_missing' end,
            case when coalesce(currency, '') !~ '\S' then 'currency_missing' when not is_currency then 'currency_invalid' end,
            case when payload_rate is null and exchange_rate ~ '\S' then 'exchange_rate_invalid' end,
            case when currency ~ '\S' and fx_source is null then 'no_rate' end
        ],
        null
    ) as errors
from rated;

insert into bench.quarantine
select
    transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id, user_uuid, user_name,
    raw_merchant_name, merchant_name, card_id, card_uuid, budget_id, budget_uuid, amount_minor, child_transaction_ids,
    exponent, currency, exchange_rate, errors, _extra, 'stg_transactions', _day, _batch_id, _source_file, _source_row,
    clock_timestamp()
from typed
where cardinality(errors) > 0;

with written as (
    insert into bench.transactions as held
    select distinct on (transaction_id)
        transaction_id, transaction_uuid, transaction_type, occurred, updated, user_id, user_uuid, user_name,
        raw_merchant_name, merchant_name, card_id, card_uuid, budget_id, budget_uuid, trim_scale(minor), children,
        places, currency, original_amount, currency, rate, round(original_amount * rate, 4), fx_source, fx_date,
        encode(sha256(convert_to(concat_ws(chr(31), transaction_id, transaction_uuid,
            to_char(occurred at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            trim_scale(original_amount)::text, currency), 'UTF8')), 'hex'),
        _day, _batch_id, _source_file, _source_row, clock_timestamp()
    from typed
    where cardinality(errors) = 0
    order by transaction_id, updated desc nulls last, _source_file collate "C" desc, _source_row desc
    on conflict (transaction_id) do update set
        transaction_uuid = excluded.transaction_uuid, transaction_type = excluded.transaction_type,
        occurred_time = excluded.occurred_time, updated_time = excluded.updated_time, user_id = excluded.user_id,
        user_uuid = excluded.user_uuid, user_name = excluded.user_name, raw_merchant_name = excluded.raw_merchant_name,
        merchant_name = excluded.merchant_name, card_id = excluded.card_id, card_uuid = excluded.card_uuid,
        budget_id = excluded.budget_id, budget_uuid = excluded.budget_uuid, amount_minor = excluded.amount_minor,
        child_transaction_ids = excluded.child_transaction_ids, exponent = excluded.exponent, currency = excluded.currency,
        original_amount = excluded.original_amount, original_currency = excluded.original_currency,
        exchange_rate = excluded.exchange_rate, amount_usd = excluded.amount_usd, fx_source = excluded.fx_source,
        fx_date = excluded.fx_date, idempotency_key = excluded.idempotency_key, _day = excluded._day,
        _batch_id = excluded._batch_id, _source_file = excluded._source_file, _source_row = excluded._source_row,
        _updated_at = excluded._updated_at
    where (coalesce(excluded.updated_time, '-infinity'), excluded._day, excluded._source_file collate "C", excluded._source_row)
        > (coalesce(held.updated_time, '-infinity'), held._day, held._source_file collate "C", held._source_row)
    returning held.xmax = 0 as is_new
)

insert into bench.metrics (
    flow_run_id, task_name, pipeline_name, table_name, day, rows_inserted, rows_updated, rows_quarantined, rows_landed,
    status, started_at, finished_at, duration_seconds
)
select
    'bench', 'transactions', 'transactions', 'stg_transactions', :'day', count(*) filter (where is_new), count(*) filter (where not is_new),
    (select count(*) from typed where cardinality(errors) > 0), (select count(*) from typed), 'success', now(), clock_timestamp(),
    extract(epoch from clock_timestamp() - now())
from written;
