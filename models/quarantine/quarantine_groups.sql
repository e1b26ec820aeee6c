{{
    config(
        alias='groups',
        tags=['groups'],
        pre_hook=["{{ forget_pending('groups', ['stg_groups']) }}", "{{ forget_rechecked(ref('int_groups_pending')) }}"],
    )
}}

{{ quarantined(ref('int_groups_pending'), 'stg_groups') }}
