-- What the marts add up, so that a day costs what its months cost and not what all history does:
-- months in which a transaction came, changed or went are worked out again, and no others.

{{
    config(
        materialized='incremental',
        full_refresh=false,
        incremental_strategy='upsert',
        unique_key=['month', 'application', 'user_id', 'user_name'],
        tags=['marts', 'transactions'],
        indexes=[{'columns': ['month', 'application', 'user_id', 'user_name'], 'unique': true}],
        meta={'tables': ['stg_transactions'], 'records': 'int_transactions_records', 'covers': 'covers_months'},
    )
}}

-- depends_on: {{ ref('int_transactions_records') }}
-- depends_on: {{ ref('int_transactions_named') }}
-- depends_on: {{ ref('transactions') }}
with spend as (

    select * from {{ ref('int_spend') }}
    where {{ in_months(months_to_work_out(plan()), 'occurred_time') }}

)

select
    month,
    application,
    -- '' for a transaction without: a key
    coalesce(user_id, '') as user_id,
    coalesce(user_name, '') as user_name,
    sum(usd) as usd,
    count(*) filter (where counts) as transactions,
    -- a name that nobody has looked up yet may get its application later
    bool_and(is_looked_up) as is_looked_up,
    {{ catalogue_mark() }} as catalogue
from spend
group by 1, 2, 3, 4
