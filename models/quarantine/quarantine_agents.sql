{{
    config(
        alias='agents',
        tags=['agents', 'groups'],
        pre_hook="{{ forget_pending('agents', ['stg_agents', 'stg_agent_details']) }}",
    )
}}

{{ quarantined(ref('int_agents_pending'), 'stg_agent_details') }}
