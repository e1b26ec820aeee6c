-- What silver.groups said, day by day: a record holds from its day to the day before the next that won.

{{ config(materialized='view', tags=['groups']) }}

with records as (

    select * from {{ ref('int_groups_records') }}
    where _outcome in ('inserted', 'updated')

)

select
    group_id,
    name,
    description,
    parent_group_id,
    agent_ids,
    created_at,
    updated_at,
    _day as valid_from,
    lead(_day) over (partition by group_id order by _day) - 1 as valid_to,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
