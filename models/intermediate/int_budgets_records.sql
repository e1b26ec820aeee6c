-- Nothing in a budget says when it was written: the later day counts.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['budgets'],
        indexes=[{'columns': ['budget_id', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'budgets', 'tables': ['stg_budgets']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_budgets' as _source_table
    from {{ ref('int_budgets_typed') }}
    where {{ is_pending('stg_budgets', work) }}

),

judged as (

    {{ judge('typed', key=['budget_id'], values=landed_columns('stg_budgets') | reject('in', ['budget_id']) | list, work=work) }}

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
    clock_timestamp() as _updated_at
from judged
where _is_pending or _outcome <> _outcome_before
