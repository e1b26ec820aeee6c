{{ config(tags=['roles']) }}

{{
    typed_records(
        'stg_roles',
        required=['role_id', 'name'],
    )
}}
