-- By each day's own list and records: a record that arrives later does not rewrite an earlier day.

{{ config(materialized='view', tags=['agents']) }}

with agents as (

    select * from {{ ref('agents') }}

),

sightings as (

    select * from {{ ref('int_agent_sightings') }}

),

applied_days as (

    select distinct day
    from {{ source('control', 'applied_batches') }}
    where model = 'agents' and table_name = 'stg_agents'

)

select
    agents.agent_id,
    applied_days.day as sync_date,
    listed.agent_id is not null and not coalesce(detailed.is_off, listed.is_off, false) as is_active
from agents
inner join applied_days on agents.first_seen_day <= applied_days.day
left join sightings as listed
    on agents.agent_id = listed.agent_id
    and applied_days.day = listed.day
    and listed.table_name = 'stg_agents'
left join sightings as detailed
    on agents.agent_id = detailed.agent_id
    and applied_days.day = detailed.day
    and detailed.table_name = 'stg_agent_details'
