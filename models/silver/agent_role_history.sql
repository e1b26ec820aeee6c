-- By the lists of agent_details: a day without a list says nothing. A day's list is held against the
-- one before it, so all days from the first that changes are worked out anew.

{{
    config(
        unique_key=['agent_id', 'role_id', 'day'],
        tags=['roles'],
        meta={'pipeline': 'roles', 'tables': ['stg_agent_details'], 'records': 'int_agents_records'},
    )
}}

{% set work = plan() %}
{% set since = '-infinity' if work.whole else work.since %}
{% do work.update({'covered': "held.day >= '" ~ since ~ "'"}) %}

with lists as not materialized (

    select
        agent_id,
        _day as day,
        {{ ids_of('role_ids') }} as role_ids
    from {{ ref('int_agents_records') }}
    where _source_table = 'stg_agent_details' and role_ids is not null and _outcome not in ('quarantined', 'duplicate')

),

steps as (

    select
        todays.agent_id,
        todays.day,
        todays.role_ids,
        coalesce(former.role_ids, '{}') as former_role_ids
    from lists as todays
    left join
        lateral (
            select role_ids from lists
            where lists.agent_id = todays.agent_id and lists.day < todays.day
            order by lists.day desc
            limit 1
        ) as former
        on true
    where todays.day >= '{{ since }}'

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
