{{ config(tags=['agents', 'groups', 'roles']) }}

{{ typed_records(source('bronze', 'stg_agents'), 'stg_agents', required=['agent_id', 'email', 'name']) }}
