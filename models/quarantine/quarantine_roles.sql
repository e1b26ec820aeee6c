{{ config(alias='roles', tags=['roles']) }}

with records as (

    select * from {{ ref('int_roles_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'role_id', role_id::text) as role_id,
    coalesce(_landed ->> 'name', name::text) as name,
    coalesce(_landed ->> 'description', description::text) as description,
    coalesce(_landed ->> 'is_default', is_default::text) as is_default,
    coalesce(_landed ->> 'agent_type', agent_type::text) as agent_type,
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
