-- Who was in which group, day by day. A group's list holds until its next readable list, on the days
-- that name the group; a row of a file holds until the next file.

{{ config(materialized='view', tags=['groups']) }}

with units as (

    select * from {{ ref('int_group_memberships_records') }}
    where _outcome in ('inserted', 'unchanged')

),

applied as (

    select
        applied.table_name,
        applied.day,
        lead(applied.day) over (partition by applied.table_name order by applied.day) as next_day
    from {{ source('control', 'applied_batches') }} as applied
    inner join {{ source('ledger', 'load_batches') }} as landed on applied.batch_id = landed.batch_id
    where applied.model = 'int_group_memberships_records'
        and applied.table_name in ('stg_groups', 'stg_group_memberships')
        and landed.status = 'succeeded'

),

groups as (

    select * from {{ ref('int_groups_records') }}

),

lists as (

    select
        group_id,
        _day,
        lead(_day) over (partition by group_id order by _day) as next_day
    from (
        select distinct group_id, _day from groups
        where _member_ids is not null and _outcome <> 'quarantined'
    ) as readable

),

-- each day on which a pair is claimed
claims as (

    select
        units.group_id,
        units.agent_id,
        present._day as day
    from units
    inner join lists on units.group_id = lists.group_id and units._day = lists._day
    inner join (select distinct group_id, _day from groups) as present
        on units.group_id = present.group_id
        and present._day >= lists._day
        and present._day < coalesce(lists.next_day, 'infinity')
    where units._source_table = 'stg_groups'
    union
    select
        units.group_id,
        units.agent_id,
        days.day
    from units
    inner join applied as files on files.table_name = 'stg_group_memberships' and units._day = files.day
    inner join applied as days
        on days.table_name = 'stg_groups'
        and days.day >= files.day
        and days.day < coalesce(files.next_day, 'infinity')
    where units._source_table = 'stg_group_memberships'

),

-- nobody was a member before both were known
known_agents as (

    select
        agent_id,
        min(_day) as known_from
    from {{ ref('int_agents_records') }}
    where _outcome <> 'quarantined'
    group by agent_id

),

known_groups as (

    select
        group_id,
        min(_day) as known_from
    from groups
    where _outcome <> 'quarantined'
    group by group_id

),

numbered as (

    select
        claims.*,
        days.number - row_number() over (partition by claims.group_id, claims.agent_id order by claims.day) as span
    from claims
    inner join known_agents on claims.agent_id = known_agents.agent_id and claims.day >= known_agents.known_from
    inner join known_groups on claims.group_id = known_groups.group_id and claims.day >= known_groups.known_from
    inner join (
        select
            day,
            row_number() over (order by day) as number
        from applied
        where table_name = 'stg_groups'
    ) as days on claims.day = days.day

),

spans as (

    select
        group_id,
        agent_id,
        min(day) as valid_from,
        max(day) as last_day
    from numbered
    group by group_id, agent_id, span

)

select
    spans.group_id,
    spans.agent_id,
    spans.valid_from,
    applied.next_day - 1 as valid_to
from spans
inner join applied on applied.table_name = 'stg_groups' and spans.last_day = applied.day
