{{
    config(
        unique_key=['agent_id', 'role_id'],
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_agent_details'], 'whole': true},
    )
}}

with history as (

    select * from {{ ref('agent_role_history') }}

),

latest as (

    select
        agent_id,
        role_id,
        max(day) filter (where action = 'assigned') as assigned_on,
        max(day) filter (where action = 'removed') as last_removed_on
    from history
    group by agent_id, role_id

)

select
    agent_id,
    role_id,
    case when last_removed_on > assigned_on then 'removed' else 'assigned' end as status,
    assigned_on,
    case when last_removed_on > assigned_on then last_removed_on end as removed_on
from latest
