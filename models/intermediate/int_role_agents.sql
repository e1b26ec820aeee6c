-- Whose roles this build has to work out. Of a day that follows all others these are the agents
-- whose list is not what they are known to hold.

{{ config(materialized='table', tags=['roles']) }}

{% set agent_roles = relation_if_built('agent_roles', 'silver') %}
{% set history = relation_if_built('agent_role_history', 'silver') %}
{% set from_nothing = flags.FULL_REFRESH or not (agent_roles and history) %}

with pending as (

    select distinct _day as day from {{ ref('int_agents_pending') }}
    where _is_pending
    union
    -- what a build that ended early, or that was of agents alone, applied and left
    select day from {{ source('control', 'applied_batches') }}
    where model = 'agents'
        and applied_at > (
            select coalesce(max(started_at), '-infinity') from {{ source('control', 'pipeline_metrics') }}
            where task_name = 'agent_roles' and status = 'success'
        )

),

sightings as (

    select * from {{ ref('int_agent_sightings') }}

),

out_of_order as (

    select
        exists (
            select 1 from sightings
            where sightings.day > (select min(pending.day) from pending)
                and sightings.day not in (select pending.day from pending)
        ) as is_out_of_order

),

listed as (

    select
        sightings.agent_id,
        sightings.role_ids
    from sightings
    inner join pending on sightings.day = pending.day
    where sightings.table_name = 'stg_agent_details' and sightings.role_ids is not null

),

held as (

    {% if from_nothing -%}
    select
        null::bigint as agent_id,
        null::bigint [] as role_ids
    {%- else -%}
    select
        agent_id,
        array_agg(role_id order by role_id) as role_ids
    from {{ agent_roles }}
    where status = 'assigned'
    group by agent_id
    {%- endif %}

)

select listed.agent_id
from listed
cross join out_of_order
left join held on listed.agent_id = held.agent_id
where
    {{ from_nothing }}
    or out_of_order.is_out_of_order
    or coalesce(held.role_ids, '{}') is distinct from {{ role_ids('listed.role_ids') }}
{%- if history %}
union
-- what a batch that is gone had assigned or removed, whether or not another took its place
select agent_id from {{ history }} as history
where {{ from_nothing }}
    or day in (select pending.day from pending)
    or not exists (
        select 1 from sightings
        where sightings.agent_id = history.agent_id
            and sightings.day = history.day
            and sightings.table_name = 'stg_agent_details'
            and sightings.role_ids is not null
    )
{%- endif %}
