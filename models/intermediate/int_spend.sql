-- What each transaction adds to spend. An authorization gives way to the clearing that it names,
-- once that has landed; declined and other types count nothing.

{{ config(tags=['marts', 'transactions']) }}

with transactions as (

    select * from {{ ref('transactions') }}

),

-- on its own, so that a filter on the transactions does not read them all for this
clearings as (

    select transaction_id from {{ ref('transactions') }}
    where transaction_type = 'CLEARING'

),

merchant_matches as (

    select * from {{ source('ledger', 'merchant_matches') }}

),

agent_matches as (

    select * from {{ source('ledger', 'agent_matches') }}

),

judged as (

    select
        transactions.*,
        case
            when transaction_type in ('CLEARING', 'REFUND') then true
            when transaction_type = 'AUTHORIZATION'
                then not exists (
                    select 1
                    from jsonb_array_elements_text(transactions.child_transaction_ids) as children (landed)
                    inner join clearings on bronze.id_text(children.landed) = clearings.transaction_id
                )
            else false
        end as counts
    from transactions

)

select
    judged.transaction_id,
    judged.user_id,
    agent_matches.agent_id,
    coalesce(merchant_matches.application, 'unmatched') as application,
    judged.occurred_time,
    date_trunc('month', judged.occurred_time at time zone 'UTC')::date as month,
    case
        when not judged.counts then 0
        when judged.transaction_type = 'REFUND' then -judged.amount_usd
        else judged.amount_usd
    end as usd,
    judged.counts,
    judged.user_name,
    merchant_matches.raw_name is not null
    or coalesce(judged.raw_merchant_name, judged.merchant_name) is null
    -- loaders.match never looks for such a name
    or length(coalesce(judged.raw_merchant_name, judged.merchant_name)) > 400 as is_looked_up
from judged
left join merchant_matches on coalesce(judged.raw_merchant_name, judged.merchant_name) = merchant_matches.raw_name
left join agent_matches on judged.user_name = agent_matches.user_name
