-- Where a transaction is found by its key: by month, its key alone would be looked for in them all.

{{ config(tags=['transactions']) }}

{% set transactions = ref('transactions') -%}
{% set by_month = is_partitioned(transactions) -%}

select
    transaction_id,
    occurred_time
from {{ keys_of(transactions) if by_month else transactions }}
