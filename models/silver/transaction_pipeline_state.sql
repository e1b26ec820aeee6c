-- How far the transactions have come. Only for people to read: nothing filters by it.

{{
    config(
        unique_key='pipeline_name',
        tags=['transactions'],
        meta={'tables': ['stg_transactions'], 'records': 'int_transactions_records', 'order': ['last_day']},
    )
}}

-- as silver: applied with them
-- depends_on: {{ ref('transactions') }}

with records as (

    select * from {{ ref('int_transactions_records') }}
    where _outcome <> 'quarantined'
        {%- if not plan().whole %}
        and _day = any({{ plan().days }})
        {%- endif %}

),

reached as (

    select
        max(coalesce(updated_time, occurred_time)) as last_processed_time,
        max(_day) as last_day,
        max(_batch_id) as last_batch_id
    from records
    having count(*) > 0

)

select
    'transactions' as pipeline_name,
    {% if is_incremental() -%}
    greatest(reached.last_processed_time, held.last_processed_time) as last_processed_time,
    greatest(reached.last_day, held.last_day) as last_day,
    greatest(reached.last_batch_id, held.last_batch_id) as last_batch_id,
    {%- else -%}
    reached.last_processed_time,
    reached.last_day,
    reached.last_batch_id,
    {%- endif %}
    statement_timestamp() as _updated_at
from reached
{% if is_incremental() -%}
left join {{ this }} as held on held.pipeline_name = 'transactions'
{%- endif %}
