{{ config(materialized='table', unlogged=true, tags=['agents', 'groups', 'roles']) }}

{{
    pending_records(
        model='agents',
        key=['agent_id'],
        order=['_source_rank', 'updated_at'],
        records=[
            {'typed': ref('int_agents_typed'), 'table': 'stg_agents', 'rank': 0},
            {'typed': ref('int_agent_details_typed'), 'table': 'stg_agent_details', 'rank': 1},
        ],
    )
}}
