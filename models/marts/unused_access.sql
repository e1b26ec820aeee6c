-- An agent who is inactive and still holds something. The 90 days end with the newest transaction:
-- a warehouse of numbered days has no today.

{{
    config(
        unique_key='agent_id',
        meta={'pipeline': 'marts', 'tables': ['stg_agents'], 'whole': true},
    )
}}

with agents as (

    select agent_id from {{ ref('agents') }}
    where status = 'inactive'

),

memberships as (

    select
        agent_id,
        count(*) as memberships
    from {{ ref('group_memberships') }}
    group by agent_id

),

roles as (

    select
        agent_id,
        count(*) as roles
    from {{ ref('agent_roles') }}
    where status = 'assigned'
    group by agent_id

),

-- of the inactive alone: what all others spent need not be added up
matches as (

    select
        agent_matches.user_name,
        agent_matches.agent_id
    from {{ source('ledger', 'agent_matches') }} as agent_matches
    inner join agents on agent_matches.agent_id = agents.agent_id

),

-- a card names its user by id, a transaction by id and name
users as (

    select distinct
        spend.user_id,
        matches.agent_id
    from {{ ref('int_spend_monthly') }} as spend
    inner join matches on spend.user_name = matches.user_name
    where spend.user_id in (select cards.user_id from {{ ref('cards') }} as cards)

),

cards as (

    select
        users.agent_id,
        count(distinct cards.card_id) as cards
    from {{ ref('cards') }} as cards
    inner join users on cards.user_id = users.user_id
    group by users.agent_id

),

-- looked for in the newest month alone
newest as (

    select max(occurred_time) as occurred_time
    from {{ ref('transactions') }}
    where occurred_time >= (select max(months.month)::timestamp at time zone 'UTC' from {{ ref('int_spend_monthly') }} as months)

),

since as (

    select
        begins at time zone 'UTC' as occurred_time,
        (date_trunc('month', begins) + interval '1 month')::date as whole_month
    from (select newest.occurred_time at time zone 'UTC' - interval '90 days' as begins from newest) as utc

),

-- whole months are added up already; of the one in which the 90 days begin, only its end counts
spend as (

    select
        matches.agent_id,
        monthly.usd
    from {{ ref('int_spend_monthly') }} as monthly
    inner join matches on monthly.user_name = matches.user_name
    where monthly.month >= (select since.whole_month from since)
    union all
    select
        agent_id,
        usd
    from {{ ref('int_spend') }}
    where counts
        and occurred_time > (select since.occurred_time from since)
        and occurred_time < (select since.whole_month::timestamp at time zone 'UTC' from since)

),

spent as (

    select
        agent_id,
        sum(usd) as usd_last_90_days
    from spend
    group by agent_id

)

select
    agents.agent_id,
    coalesce(memberships.memberships, 0) as memberships,
    coalesce(roles.roles, 0) as roles,
    coalesce(cards.cards, 0) as cards,
    coalesce(spent.usd_last_90_days, 0) as usd_last_90_days
from agents
left join memberships on agents.agent_id = memberships.agent_id
left join roles on agents.agent_id = roles.agent_id
left join cards on agents.agent_id = cards.agent_id
left join spent on agents.agent_id = spent.agent_id
where coalesce(memberships.memberships, 0) + coalesce(roles.roles, 0) + coalesce(cards.cards, 0) > 0
