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
    count(*) filter (where counts_user and user_id is not null) as users
from spend
group by application, month
