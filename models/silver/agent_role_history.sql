-- By the lists of agent_details: a day without a list says nothing.

{{
    config(
        incremental_strategy='mirror',
        unique_key=['agent_id', 'role_id', 'day'],
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_agent_details'], 'scope': 'int_role_agents', 'scope_key': 'agent_id'},
        pre_hook='{{ started() }}',
        post_hook='{{ account_first_mirror() }}',
    )
}}

with agents as (

    select agent_id from {{ ref('int_role_agents') }}

),

sightings as (

    select * from {{ ref('int_agent_sightings') }}
    where table_name = 'stg_agent_details' and role_ids is not null

),

lists as (

    select
        sightings.agent_id,
        sightings.day,
        {{ role_ids('sightings.role_ids') }} as role_ids
    from agents
    inner join sightings on agents.agent_id = sightings.agent_id

),

steps as (

    select
        agent_id,
        day,
        role_ids,
        coalesce(lag(role_ids) over (partition by agent_id order by day), '{}') as former_role_ids
    from lists

),

assigned as (

    select
        steps.agent_id,
        roles.role_id,
        steps.day,
        'assigned' as action
    from steps
    cross join lateral unnest(steps.role_ids) as roles (role_id)
    where roles.role_id <> all(steps.former_role_ids)

),

removed as (

    select
        steps.agent_id,
        roles.role_id,
        steps.day,
        'removed' as action
    from steps
    cross join lateral unnest(steps.former_role_ids) as roles (role_id)
    where roles.role_id <> all(steps.role_ids)

)

select * from assigned
union all
select * from removed
