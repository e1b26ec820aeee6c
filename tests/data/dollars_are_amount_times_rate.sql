-- Of the records just built. Who fixes: whoever changed the typing of transactions.

{{ config(tags=['transactions']) }}

select transactions.*
from {{ ref('transactions') }} as transactions
inner join {{ ref('int_transactions_pending') }} as pending
    on transactions.transaction_id = pending.transaction_id and transactions.occurred_time = pending.occurred_time
where pending._is_valid
    and pending._rank = 1
    and (
        transactions.amount_usd <> round(transactions.original_amount * transactions.exchange_rate, 4)
        or transactions.amount_minor <> transactions.original_amount * power(10::numeric, transactions.exponent)
    )
