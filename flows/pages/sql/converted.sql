-- A day's transactions by currency: original amounts, dollars, and how they were rated.
select
    currency, count(*) as transactions,
    sum(original_amount) as original, sum(amount_usd) as usd,
    count(*) filter (where fx_source = 'reference') as by_reference,
    count(*) filter (where fx_source = 'payload') as by_payload
from intermediate.int_transactions_records
where _day = %(day)s and _outcome in ('inserted', 'updated', 'unchanged')
    -- as the ledger: once silver has applied them
    and _batch_id in (select batch_id from metrics.applied_batches where model = 'transactions')
group by currency
order by count(*) desc, currency
