{{
    config(
        unique_key='role_id',
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_roles'], 'records': 'int_roles_records'},
    )
}}

with records as not materialized (

    select * from {{ ref('int_roles_records') }}

),

changed as (

    {{ changed_keys('records', ['role_id'], plan()) }}

),

latest as (

    select winner.*
    from changed
    cross join
        lateral (
            select * from records
            where records.role_id = changed.role_id
                and records._outcome in ('inserted', 'updated', 'unchanged')
            order by records._day desc
            limit 1
        ) as winner

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
