-- By the lists of agent_details: a day without a list says nothing. A day's list is held against the
-- one before it, so all days from the first that changes are worked out anew. Behind a row stands the
-- record that has the role for the first time, or has it no more.

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
        {{ ids_of('role_ids') }} as role_ids,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ ref('int_agents_records') }}
    where _source_table = 'stg_agent_details' and role_ids is not null and _outcome not in ('quarantined', 'duplicate')

),

steps as (

    select
        todays.*,
        coalesce(former.role_ids, '{}') as former_role_ids
    from lists as todays
    left join
        lateral (
            select role_ids from lists
            where lists.agent_id = todays.agent_id and lists._day < todays._day
            order by lists._day desc
            limit 1
        ) as former
        on true
    where todays._day >= '{{ since }}'

),

assigned as (

    select distinct
        steps.agent_id,
        roles.role_id,
        'assigned' as action,
        steps._day,
        steps._batch_id,
        steps._source_file,
        steps._source_row
    from steps
    cross join lateral unnest(steps.role_ids) as roles (role_id)
    where roles.role_id <> all(steps.former_role_ids)

),

removed as (

    select distinct
        steps.agent_id,
        roles.role_id,
        'removed' as action,
        steps._day,
        steps._batch_id,
        steps._source_file,
        steps._source_row
    from steps
    cross join lateral unnest(steps.former_role_ids) as roles (role_id)
    where roles.role_id <> all(steps.role_ids)

),

happened as (

    select * from assigned
    union all
    select * from removed

)

select
    agent_id,
    role_id,
    _day as day,
    action,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from happened
