-- An element of a list whose group is not valid is counted, but shown in quarantine.groups: there its
-- record stands whole.

{{ config(alias='group_memberships', tags=['groups']) }}

with units as (

    select * from {{ ref('int_group_memberships_records') }}
    where cardinality(_errors) > 0 and _errors <> '{group_invalid}'

)

select
    coalesce(_landed ->> 'group_id', group_id) as group_id,
    coalesce(_landed ->> 'agent_id', agent_id) as agent_id,
    _landed ->> 'agent_ids' as agent_ids,
    _errors,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from units
