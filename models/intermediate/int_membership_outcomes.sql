-- One row per unit of this build's batches with its one disposition, before silver is written.

{{ config(materialized='table', unlogged=true, tags=['groups']) }}

with units as (

    select * from {{ ref('int_membership_units') }}

),

pairs as (

    select * from {{ ref('int_membership_pairs') }}

),

agents as (

    select agent_id from {{ ref('agents') }}

),

groups as (

    select group_id from {{ ref('groups') }}

),

judged as (

    select
        units.*,
        case
            when not units._is_valid then 'invalid'
            when agents.agent_id is null or groups.group_id is null then 'unknown'
            when
                pairs._batch_id = units._batch_id
                and pairs._source_file = units._source_file
                and pairs._source_row = units._source_row
                and pairs._source_position = units._source_position
                then 'winner'
            when units._day_rank > 1 or units.list_rank > 1 or pairs._day = units._day then 'duplicate'
            else 'stale'
        end as judgement,
        agents.agent_id is null as is_unknown_agent,
        groups.group_id is null as is_unknown_group
    from units
    left join pairs on units.group_id = pairs.group_id and units.agent_id = pairs.agent_id
    left join agents on units.agent_id = agents.agent_id
    left join groups on units.group_id = groups.group_id

)

select * from judged
