-- By each day's own list and records: a record that arrives later does not rewrite an earlier day.

{{ config(materialized='view', tags=['agents']) }}

with agents as (

    select * from {{ ref('agents') }}

),

records as (

    select * from {{ ref('int_agents_records') }}

),

applied_days as (

    select distinct day
    from {{ source('control', 'applied_batches') }}
    where model = 'agents' and table_name = 'stg_agents'

),

listed as (

    select distinct
        agent_id,
        _day
    from records
    where _source_table = 'stg_agents'

),

-- what the best valid record of the day says
spoken as (

    select
        agent_id,
        deactivated is true or contact_active is false as is_off,
        _day,
        _batch_id,
        _source_file,
        _source_row,
        _updated_at
    from records
    where _outcome not in ('quarantined', 'duplicate')

)

select
    agents.agent_id,
    applied_days.day as sync_date,
    listed.agent_id is not null and spoken.is_off is not true as is_active,
    spoken._day,
    spoken._batch_id,
    spoken._source_file,
    spoken._source_row,
    spoken._updated_at
from agents
inner join applied_days on agents.first_seen_day <= applied_days.day
left join listed on agents.agent_id = listed.agent_id and applied_days.day = listed._day
left join spoken on agents.agent_id = spoken.agent_id and applied_days.day = spoken._day
