{{ config(tags=['agents', 'groups']) }}

{{ typed_records(source('bronze', 'stg_agents'), 'stg_agents', required=['agent_id', 'email', 'name']) }}
