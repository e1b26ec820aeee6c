-- What authorizations name, with the months these are in: whoever brings a clearing changes them. An
-- authorization that is replaced stays in it, which costs a month worked out in vain.

{{
    config(
        materialized='incremental',
        full_refresh=false,
        incremental_strategy='upsert',
        unique_key=['transaction_id', 'month'],
        tags=['marts', 'transactions'],
        meta={'tables': ['stg_transactions'], 'records': 'transactions', 'order': ['month']},
    )
}}

-- depends_on: {{ ref('transactions') }}
with records as (

    select * from {{ ref('int_transactions_records') }}
    where transaction_type = 'AUTHORIZATION' and _outcome <> 'quarantined'
        {%- if not plan().whole %}
        and _day = any({{ plan().days }})
        {%- endif %}

)

select distinct
    {{ typed_value('children.landed', 'id') }} as transaction_id,
    date_trunc('month', records.occurred_time at time zone 'UTC')::date as month
from records
cross join lateral jsonb_array_elements_text(records.child_transaction_ids) as children (landed)
where bronze.id_text(children.landed) is not null
