-- A day's transactions by currency: original amounts, dollars, and how they were rated.
select
    original_currency as currency, count(*) as transactions,
    sum(original_amount) as original, sum(amount_usd) as usd,
    count(*) filter (where fx_source = 'reference') as by_reference,
    count(*) filter (where fx_source = 'payload') as by_payload
from silver.transactions
where transaction_id in (
    select transaction_id from intermediate.int_transactions_records where _day = %(day)s
)
group by original_currency
order by count(*) desc, original_currency
