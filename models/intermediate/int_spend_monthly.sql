-- What the marts add up, so that a day costs what its months cost and not what all history does:
-- months in which a transaction came, changed or went are worked out again, and no others.

{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        tags=['marts', 'transactions'],
        pre_hook='{{ forget_changed_months() }}',
        post_hook='{{ remember_months() }}',
    )
}}

with spend as (

    select * from {{ ref('int_spend') }}
    {%- if is_incremental() %}
    where {{ in_changed_months('occurred_time') }}
    {%- endif %}

)

select
    month,
    application,
    user_id,
    user_name,
    sum(usd) as usd,
    count(*) filter (where counts) as transactions,
    -- a name that nobody has looked up yet may get its application later
    bool_and(is_looked_up) as is_looked_up
from spend
group by month, application, user_id, user_name
