{{ config(tags=['roles']) }}

{{
    typed_records(
        source('bronze', 'stg_roles'),
        'stg_roles',
        required=['role_id', 'name'],
    )
}}
