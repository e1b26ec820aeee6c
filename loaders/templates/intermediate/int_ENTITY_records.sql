{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['<< name >>'],
        indexes=[{'columns': ['<< key | join("', '") >>', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': '<< name >>', 'tables': ['stg_<< name >>']},
    )
}}

with typed as (

    select
        *,
        'stg_<< name >>' as _source_table
    from {{ ref('int_<< name >>_typed') }}
    where {{ plan().is_pending }}

),

judged as (

    {{ judge('typed', 'stg_<< name >>'<< ", last_write='extract(epoch from %s)'" % written_at if written_at >>) }}

)

select
<% for column in table.columns %>
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
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
