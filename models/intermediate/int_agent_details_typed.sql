{{ config(tags=['agents', 'groups']) }}

{{
    typed_records(
        source('bronze', 'stg_agent_details'),
        'stg_agent_details',
        required=['agent_id', 'email', 'name'],
        arrays=['role_ids', 'group_ids'],
    )
}}
