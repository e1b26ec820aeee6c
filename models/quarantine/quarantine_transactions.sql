{{ config(alias='transactions', tags=['transactions']) }}

with records as (

    select * from {{ ref('int_transactions_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'transaction_id', transaction_id::text) as transaction_id,
    coalesce(_landed ->> 'transaction_uuid', transaction_uuid::text) as transaction_uuid,
    coalesce(_landed ->> 'transaction_type', transaction_type::text) as transaction_type,
    coalesce(_landed ->> 'occurred_time', occurred_time::text) as occurred_time,
    coalesce(_landed ->> 'updated_time', updated_time::text) as updated_time,
    coalesce(_landed ->> 'user_id', user_id::text) as user_id,
    coalesce(_landed ->> 'user_uuid', user_uuid::text) as user_uuid,
    coalesce(_landed ->> 'user_name', user_name::text) as user_name,
    coalesce(_landed ->> 'raw_merchant_name', raw_merchant_name::text) as raw_merchant_name,
    coalesce(_landed ->> 'merchant_name', merchant_name::text) as merchant_name,
    coalesce(_landed ->> 'card_id', card_id::text) as card_id,
    coalesce(_landed ->> 'card_uuid', card_uuid::text) as card_uuid,
    coalesce(_landed ->> 'budget_id', budget_id::text) as budget_id,
    coalesce(_landed ->> 'budget_uuid', budget_uuid::text) as budget_uuid,
    coalesce(_landed ->> 'amount_minor', amount_minor::text) as amount_minor,
    coalesce(_landed ->> 'child_transaction_ids', child_transaction_ids::text) as child_transaction_ids,
    coalesce(_landed ->> 'exponent', exponent::text) as exponent,
    coalesce(_landed ->> 'currency', currency::text) as currency,
    coalesce(_landed ->> 'exchange_rate', exchange_rate::text) as exchange_rate,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
