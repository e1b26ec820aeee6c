-- Of what the day that the run builds wrote, or of all. Who fixes: whoever changed the typing of transactions.

{{ config(tags=['transactions']) }}

-- as a literal: how many rows a day has is planned with
{% set day = run_query('select ' ~ app_day() ~ '::text').columns[0].values()[0] if execute %}

{% if execute and flags.WHICH == 'build' and not load_relation(ref('transactions')) %}
-- a first build of the records alone has no silver to look at
select null as transaction_id where false
{% else %}
select transactions.*
-- by the day's records: silver has no index on the day
from {{ ref('int_transactions_records') }} as records
inner join {{ ref('transactions') }} as transactions on records.transaction_id = transactions.transaction_id
where {{ "records._day = '" ~ day ~ "'" if day else 'true' }}
    and records._outcome in ('inserted', 'updated')
    and (
        transactions.amount_usd <> round(transactions.original_amount * transactions.exchange_rate, 4)
        or transactions.amount_minor <> transactions.original_amount * ('1e' || transactions.exponent)::numeric
    )
{% endif %}
