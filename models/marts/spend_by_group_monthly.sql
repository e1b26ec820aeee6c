-- Each transaction once: an agent who is in several groups below a group adds to it once.

{{
    config(
        unique_key=['group_id', 'month'],
        meta={'pipeline': 'marts', 'tables': ['stg_transactions'], 'whole': true},
    )
}}

with recursive spend as (

    select
        matches.agent_id,
        spend.month,
        sum(spend.usd) as usd
    from {{ ref('int_spend_monthly') }} as spend
    inner join {{ source('ledger', 'agent_matches') }} as matches on spend.user_name = matches.user_name
    where spend.transactions > 0 and matches.agent_id is not null
    group by matches.agent_id, spend.month

),

groups as (

    select
        group_id,
        parent_group_id
    from {{ ref('groups') }}

),

members as (

    select
        memberships.group_id,
        memberships.agent_id
    from {{ ref('group_memberships') }} as memberships
    where memberships.agent_id in (select spend.agent_id from spend)

),

edges as (

    select
        child.group_id,
        parent.group_id as parent_group_id
    from groups as child
    inner join groups as parent on child.parent_group_id = parent.group_id

),

spenders as (

    -- anchor: a member who spent
    select
        group_id,
        agent_id
    from members
    union
    -- step: to the parent
    select
        edges.parent_group_id,
        spenders.agent_id
    from spenders
    inner join edges on spenders.group_id = edges.group_id

)

select
    spenders.group_id,
    spend.month,
    coalesce(sum(spend.usd) filter (where members.agent_id is not null), 0) as usd_direct,
    sum(spend.usd) as usd_total
from spenders
inner join spend on spenders.agent_id = spend.agent_id
left join members on spenders.group_id = members.group_id and spenders.agent_id = members.agent_id
group by spenders.group_id, spend.month
