-- What each transaction adds to spend. An authorization gives way to the clearing that it names,
-- once that has landed; declined and other types count nothing.

{{ config(tags=['marts', 'transactions']) }}

with transactions as (

    select * from {{ ref('transactions') }}

),

merchant_matches as (

    select * from {{ source('ledger', 'merchant_matches') }}

),

agent_matches as (

    select * from {{ source('ledger', 'agent_matches') }}

),

cleared as (

    select authorizations.transaction_id
    from transactions as authorizations
    cross join lateral jsonb_array_elements_text(authorizations.child_transaction_ids) as children (transaction_id)
    inner join transactions as clearings on children.transaction_id = clearings.transaction_id
    where authorizations.transaction_type = 'AUTHORIZATION' and clearings.transaction_type = 'CLEARING'

)

select
    transactions.transaction_id,
    transactions.user_id,
    agent_matches.agent_id,
    coalesce(merchant_matches.application, 'unmatched') as application,
    transactions.occurred_time,
    date_trunc('month', transactions.occurred_time at time zone 'UTC')::date as month,
    case when transactions.transaction_type = 'REFUND' then -transactions.amount_usd else transactions.amount_usd end as usd
from transactions
left join merchant_matches on coalesce(transactions.raw_merchant_name, transactions.merchant_name) = merchant_matches.raw_name
left join agent_matches on transactions.user_name = agent_matches.user_name
where transactions.transaction_type in ('AUTHORIZATION', 'CLEARING', 'REFUND')
    and transactions.transaction_id not in (select cleared.transaction_id from cleared)
