-- Nothing in a budget says when it was written: the later day counts.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['budgets'],
        indexes=[{'columns': ['budget_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'budgets', 'tables': ['stg_budgets']},
    )
}}

with typed as (

    select
        *,
        'stg_budgets' as _source_table
    from {{ ref('int_budgets_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_budgets') }}

)

select
    budget_id,
    budget_uuid,
    name,
    description,
    retired,
    start_date,
    recurring_interval,
    timezone,
    limit_amount,
    overspend_buffer,
    assigned_amount,
    spent_cleared,
    spent_pending,
    spent_total,
    _outcome,
    _errors,
    _landed,
    _extra,
    _hash,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
