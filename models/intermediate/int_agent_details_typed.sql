{{ config(tags=['agents', 'groups', 'roles']) }}

{{
    typed_records(
        source('bronze', 'stg_agent_details'),
        'stg_agent_details',
        required=['agent_id', 'email', 'name'],
        arrays=['role_ids', 'group_ids'],
    )
}}
