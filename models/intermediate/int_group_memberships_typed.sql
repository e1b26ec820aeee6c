{{ config(tags=['groups']) }}

{{
    typed_records(
        source('bronze', 'stg_group_memberships'),
        'stg_group_memberships',
        required=['group_id', 'agent_id'],
    )
}}
