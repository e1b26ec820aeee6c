{{ config(tags=['agents', 'groups', 'roles']) }}

{{
    typed_records(
        'stg_agent_details',
        required=['agent_id', 'email', 'name'],
        arrays=['role_ids', 'group_ids'],
    )
}}
