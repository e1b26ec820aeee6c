{{
    config(
        alias='roles',
        tags=['roles'],
        pre_hook="{{ forget_pending('roles', ['stg_roles']) }}",
    )
}}

{{ quarantined(ref('int_roles_pending'), 'stg_roles') }}
