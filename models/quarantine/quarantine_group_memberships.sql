-- What is not valid, and each list that can't be read, which is no unit and has no outcome.

{{ config(alias='group_memberships', tags=['groups']) }}

with units as (

    select * from {{ ref('int_group_memberships_records') }}
    where cardinality(_errors) > 0

)

select
    coalesce(_landed ->> 'group_id', group_id) as group_id,
    coalesce(_landed ->> 'agent_id', agent_id) as agent_id,
    _landed ->> 'agent_ids' as agent_ids,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from units
