{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['cards'],
        indexes=[{'columns': ['card_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'cards', 'tables': ['stg_cards']},
    )
}}

with typed as (

    select
        *,
        'stg_cards' as _source_table
    from {{ ref('int_cards_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_cards', last_write='extract(epoch from updated_time)') }}

)

select
    card_id,
    card_uuid,
    name,
    user_id,
    user_uuid,
    budget_id,
    budget_uuid,
    last_four,
    valid_thru,
    status,
    type,
    share_budget_funds,
    recurring,
    recurring_limit,
    current_limit,
    current_spent,
    created_time,
    updated_time,
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
