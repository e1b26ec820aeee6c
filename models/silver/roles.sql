-- depends_on: {{ ref('quarantine_roles') }}

{{
    config(
        unique_key='role_id',
        tags=['roles'],
        meta={
            'pipeline': 'roles',
            'tables': ['stg_roles'],
            'pending': 'int_roles_pending',
            'order': ['updated_at'],
        },
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_build() }}',
    )
}}

with pending as (

    select * from {{ ref('int_roles_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

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
