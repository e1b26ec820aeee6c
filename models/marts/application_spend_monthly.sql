{{
    config(
        unique_key=['application', 'month'],
        tags=['transactions'],
        meta={'pipeline': 'marts', 'tables': ['stg_transactions'], 'whole': true},
    )
}}

with spend as (

    select * from {{ ref('int_spend_monthly') }}
    where transactions > 0

)

select
    application,
    month,
    sum(usd) as usd,
    sum(transactions)::bigint as transactions,
    -- in the order of the index: no sort of all history
    count(distinct user_id) filter (where user_id <> '') as users
from spend
group by application, month
