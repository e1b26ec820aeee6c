{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['cards'],
        indexes=[{'columns': ['card_id', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': 'cards', 'tables': ['stg_cards']},
    )
}}

{% set work = plan() %}

with typed as (

    select
        *,
        'stg_cards' as _source_table
    from {{ ref('int_cards_typed') }}
    where {{ is_pending('stg_cards', work) }}

),

judged as (

    {{ judge('typed', key=['card_id'], values=landed_columns('stg_cards') | reject('in', ['card_id']) | list, work=work, last_write='updated_time') }}

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
    clock_timestamp() as _updated_at
from judged
where _is_pending or _outcome <> _outcome_before
