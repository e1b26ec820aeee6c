{{
    config(
        unique_key=['application', 'month'],
        tags=['transactions'],
        meta={'pipeline': 'marts', 'tables': ['stg_transactions']},
    )
}}

with spend as (

    select * from {{ ref('int_spend') }}

)

select
    application,
    month,
    sum(usd) as usd,
    count(*) as transactions,
    count(distinct user_id) as users
from spend
group by application, month
