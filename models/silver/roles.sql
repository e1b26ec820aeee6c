{{
    config(
        unique_key='role_id',
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_roles'], 'records': 'int_roles_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_roles_records'), 'role_id') }}

),

latest as (

    select distinct on (role_id) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by role_id, _day desc

)

select
    role_id,
    name,
    description,
    is_default,
    agent_type,
    created_at,
    updated_at,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
