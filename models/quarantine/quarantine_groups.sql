{{
    config(
        alias='groups',
        tags=['groups'],
        pre_hook="{{ forget_pending('groups', ['stg_groups']) }}",
    )
}}

{{ quarantined(ref('int_groups_pending'), 'stg_groups') }}
