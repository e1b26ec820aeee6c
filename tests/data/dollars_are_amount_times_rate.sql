-- Of the day that the run builds, or of all. Who fixes: whoever changed the typing of transactions.

{{ config(tags=['transactions']) }}

select *
from {{ ref('transactions') }}
where _day = coalesce({{ app_day() }}, _day)
    and (
        amount_usd <> round(original_amount * exchange_rate, 4)
        or amount_minor <> original_amount * power(10::numeric, exponent)
    )
