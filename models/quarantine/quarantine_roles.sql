{{
    config(
        alias='roles',
        tags=['roles'],
        pre_hook=["{{ forget_pending('roles', ['stg_roles']) }}", "{{ forget_rechecked(ref('int_roles_pending')) }}"],
    )
}}

{{ quarantined(ref('int_roles_pending'), 'stg_roles') }}
