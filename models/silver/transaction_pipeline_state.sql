-- How far the transactions have come. Only for people to read: nothing filters by it.

-- depends_on: {{ ref('transactions') }}

{{
    config(
        incremental_strategy='merge',
        unique_key='pipeline_name',
        tags=['transactions'],
    )
}}

with pending as (

    select * from {{ ref('int_transactions_pending') }}

),

valid as (

    select * from pending
    where _is_valid and _is_pending

),

reached as (

    select
        max(coalesce(updated_time, occurred_time)) as last_processed_time,
        max(_day) as last_day,
        max(_batch_id) as last_batch_id
    from valid
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
    clock_timestamp() as _updated_at
from reached
{% if is_incremental() -%}
left join {{ this }} as held on held.pipeline_name = 'transactions'
{%- endif %}
