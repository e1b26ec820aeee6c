{{
    config(
        unique_key='role_id',
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_roles'], 'records': 'int_roles_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_roles_records'), 'role_id') }}

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
    statement_timestamp() as _updated_at
from latest
