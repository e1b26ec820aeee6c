{{ config(alias='groups', tags=['groups']) }}

with records as (

    select * from {{ ref('int_groups_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'group_id', group_id::text) as group_id,
    coalesce(_landed ->> 'name', name::text) as name,
    coalesce(_landed ->> 'description', description::text) as description,
    coalesce(_landed ->> 'parent_group_id', parent_group_id::text) as parent_group_id,
    coalesce(_landed ->> 'agent_ids', agent_ids::text) as agent_ids,
    coalesce(_landed ->> 'created_at', created_at::text) as created_at,
    coalesce(_landed ->> 'updated_at', updated_at::text) as updated_at,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
