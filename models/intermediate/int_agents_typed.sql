{{ config(tags=['agents', 'groups', 'roles']) }}

{{ typed_records('stg_agents', required=['agent_id', 'email', 'name']) }}
