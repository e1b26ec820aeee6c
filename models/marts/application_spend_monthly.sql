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

),

-- to count distinct users in one step, all history would be sorted
by_user as (

    select
        application,
        month,
        user_id,
        sum(usd) as usd,
        sum(transactions) as transactions
    from spend
    group by application, month, user_id

)

select
    application,
    month,
    sum(usd) as usd,
    sum(transactions)::bigint as transactions,
    count(user_id) as users
from by_user
group by application, month
