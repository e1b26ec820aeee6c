{{
    config(
        incremental_strategy='mirror',
        unique_key=['agent_id', 'role_id'],
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_agent_details'], 'scope': 'int_role_agents', 'scope_key': 'agent_id'},
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_mirror() }}',
    )
}}

with agents as (

    select agent_id from {{ ref('int_role_agents') }}

),

history as (

    select * from {{ ref('agent_role_history') }}

),

latest as (

    select
        history.agent_id,
        history.role_id,
        max(history.day) filter (where history.action = 'assigned') as assigned_on,
        max(history.day) filter (where history.action = 'removed') as last_removed_on
    from agents
    inner join history on agents.agent_id = history.agent_id
    group by history.agent_id, history.role_id

)

select
    agent_id,
    role_id,
    case when last_removed_on > assigned_on then 'removed' else 'assigned' end as status,
    assigned_on,
    case when last_removed_on > assigned_on then last_removed_on end as removed_on
from latest
