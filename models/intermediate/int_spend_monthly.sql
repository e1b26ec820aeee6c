-- What the marts add up, so that a day costs what its months cost and not what all history does:
-- months in which a transaction came, changed or went are worked out again, and no others. It takes in
-- what int_transactions_named has, and that what silver.transactions has: whose spend is worked out here.

{{
    config(
        materialized='incremental',
        full_refresh=false,
        incremental_strategy='by_batch',
        tags=['marts', 'transactions'],
        indexes=[{'columns': ['month']}],
        meta={'tables': ['stg_transactions'], 'records': 'int_transactions_named'},
    )
}}

-- the catalogue of applications, as a number; where this model changes, so does the seed
{% set catalogue = "coalesce((select hashtextextended(max(state.catalogue), 2) from " ~ source('ledger', 'match_state') ~ " as state), 2)" %}

{% set work = plan(mark=catalogue) %}

-- the months whose spend may have changed: those of the transactions that pending batches brought,
-- wherever another record of one put it, of authorizations that name one, and with a name that is
-- looked up anew
{% set changed_months %}
    select months.month::text
    from (
        select month from {{ this }} where not is_looked_up
        union
        select month from {{ this }} where {{ mark_changed(catalogue) }}
        union
        select date_trunc('month', occurred_time at time zone 'UTC')::date from {{ ref('int_transactions_records') }}
        where _day = any({{ work.days }}) and occurred_time is not null
        union
        select date_trunc('month', versions.occurred_time at time zone 'UTC')::date
        from {{ ref('int_transactions_records') }} as pending
        inner join {{ ref('int_transactions_records') }} as versions
            on pending.transaction_id = versions.transaction_id and versions._outcome <> 'quarantined'
        where pending._day = any({{ work.days }})
            {%- if not work.has_later %}
            -- what is inserted on the newest days has no other
            and pending._outcome <> 'inserted'
            {%- endif %}
        union
        select named.month
        from {{ ref('int_transactions_records') }} as pending
        inner join {{ ref('int_transactions_named') }} as named on pending.transaction_id = named.transaction_id
        where pending._day = any({{ work.days }})
    ) as months
{% endset %}

-- a batch that is gone does not say which months it spoke of: then it is all of them
{% set is_all = not execute or work.whole or work.gone | length > work.again | length %}
{% set months = [] if is_all else run_query(changed_months).columns[0].values() | sort %}
-- after what is above, which asks for has_later
{% do work.update({'is_replaced': 'true' if is_all else "held.month = any(" ~ array_of(months, 'date') ~ ")", 'has_later': false}) %}

with spend as (

    select * from {{ ref('int_spend') }}
    where {{ is_all | lower }}
        {%- for month in months %}
        -- as literals: the index on the time is planned with
        or occurred_time >= '{{ month }} UTC' and occurred_time < ('{{ month }}'::timestamp + interval '1 month') at time zone 'UTC'
        {%- endfor %}

),

monthly as (

    select
        month,
        application,
        user_id,
        -- a longer one is nobody's: loaders.match never looks for it
        case when length(user_name) <= 400 then user_name end as user_name,
        sum(usd) as usd,
        count(*) filter (where counts) as transactions,
        -- a name that nobody has looked up yet may get its application later
        bool_and(is_looked_up) as is_looked_up
    from spend
    group by 1, 2, 3, 4

)

select
    *,
    row_number() over (partition by month, application, user_id, transactions > 0 order by user_name) = 1 as counts_user
from monthly
