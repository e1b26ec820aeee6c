-- By the lists of agent_details: a day without a list says nothing. A day's list is held against the
-- one before it.

{{
    config(
        unique_key=['agent_id', 'role_id', 'day'],
        tags=['roles'],
        meta={
            'pipeline': 'roles',
            'tables': ['stg_agent_details'],
            'records': 'int_agents_records',
            'covers': 'covers_role_days',
        },
    )
}}

with records as not materialized (

    select * from {{ ref('int_agents_records') }}

),

lists as not materialized (

    {{ role_lists('records') }}

),

days as (

    {{ role_days('records', plan()) }}

),

steps as (

    select
        days.agent_id,
        days.day,
        todays.role_ids,
        coalesce(former.role_ids, '{}') as former_role_ids
    from days
    cross join
        lateral (
            select role_ids from lists
            where lists.agent_id = days.agent_id and lists.day = days.day
            limit 1
        ) as todays
    left join
        lateral (
            select role_ids from lists
            where lists.agent_id = days.agent_id and lists.day < days.day
            order by lists.day desc
            limit 1
        ) as former
        on true

),

assigned as (

    select distinct
        steps.agent_id,
        roles.role_id,
        steps.day,
        'assigned' as action
    from steps
    cross join lateral unnest(steps.role_ids) as roles (role_id)
    where roles.role_id <> all(steps.former_role_ids)

),

removed as (

    select distinct
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
