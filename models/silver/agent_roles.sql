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

    select distinct on (agent_id, role_id)
        *,
        max(day) filter (where action = 'assigned') over (partition by agent_id, role_id) as assigned_on
    from history
    order by agent_id asc, role_id asc, day desc

)

select
    agent_id,
    role_id,
    action as status,
    assigned_on,
    case action when 'removed' then day end as removed_on,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from latest
