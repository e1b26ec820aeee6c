{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['<< entity.name >>'],
        indexes=[{'columns': ['<< entity.key | join("', '") >>', '_day desc']}, {'columns': ['_day']}],
        meta={'pipeline': '<< entity.name >>', 'tables': ['stg_<< entity.name >>']},
    )
}}

with typed as (

    select
        *,
        'stg_<< entity.name >>' as _source_table
    from {{ ref('int_<< entity.name >>_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_<< entity.name >>'<< ", last_write='extract(epoch from %s)'" % entity.written_at if entity.written_at >>) }}

)

select
<% for column in entity.columns %>
    << column.name >>,
<% endfor %>
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
where _outcome is distinct from _outcome_before
