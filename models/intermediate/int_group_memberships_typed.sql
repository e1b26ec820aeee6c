{{ config(tags=['groups']) }}

{{
    typed_records(
        'stg_group_memberships',
        required=['group_id', 'agent_id'],
    )
}}
