{{ config(materialized='table', unlogged=true, tags=['roles']) }}

{{
    pending_records(
        model='roles',
        key=['role_id'],
        order=['updated_at'],
        records=[{'typed': ref('int_roles_typed'), 'table': 'stg_roles'}],
    )
}}
