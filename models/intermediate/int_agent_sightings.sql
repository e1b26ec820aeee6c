-- What each day said of each agent. It outlives the landed rows, so that presence and history do.

{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        full_refresh=false,
        tags=['agents', 'groups', 'roles'],
        indexes=[{'columns': ['day', 'table_name', 'agent_id'], 'unique': true}, {'columns': ['agent_id']}],
        pre_hook="{{ forget_pending('agents', ['stg_agents', 'stg_agent_details'], 'table_name', 'day') }}",
    )
}}

with pending as (

    select * from {{ ref('int_agents_pending') }}

)

select
    agent_id,
    _source_table as table_name,
    _day as day,
    -- what its best valid record of the day says; null without one
    (
        array_agg(coalesce(deactivated, false) or not coalesce(contact_active, true) order by _day_rank)
        filter (where _is_valid)
    )[1] as is_off,
    (array_agg(role_ids order by _day_rank) filter (where _is_valid))[1] as role_ids
from pending
where _is_pending and agent_id is not null
group by agent_id, _source_table, _day
