{{
    config(
        alias='agents',
        tags=['agents', 'groups'],
        pre_hook=["{{ forget_pending('agents', ['stg_agents', 'stg_agent_details']) }}", "{{ forget_rechecked(ref('int_agents_pending')) }}"],
    )
}}

{{ quarantined(ref('int_agents_pending'), 'stg_agent_details') }}
