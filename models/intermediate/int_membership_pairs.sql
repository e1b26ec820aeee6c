-- One row per pair that the newest snapshot claims, with the unit it comes from, known or not. A group of the newest snapshot
-- keeps its newest readable list; a file of memberships counts while its day is the newest one.

{% set held = relation_if_built('group_memberships', 'silver') %}

{{ config(materialized='table', unlogged=true, tags=['groups']) }}

with groups as (

    select * from {{ ref('groups') }}

),

agents as (

    select * from {{ ref('agents') }}

),

lists as (

    select lists.*
    from {{ ref('int_group_lists') }} as lists
    inner join groups on lists.group_id = groups.group_id
    where groups.is_present

),

batches as (

    select * from {{ ref('int_batches') }}
    where table_name = 'stg_group_memberships'

),

newest_file as (

    {{ newest_membership_file('batches') }}

),

filed as (

    select
        group_id,
        agent_id,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ ref('int_group_memberships_typed') }}
    where _day = (select newest_file.day from newest_file)
        and _batch_id = (select newest_file.batch_id from newest_file)
        and cardinality(_errors) = 0
    {%- if held %}
    union all
    -- its day was landed again in part: until it is whole, silver is all that is left of the file
    select
        group_id,
        agent_id,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ held }}
    where _batch_id = (
        select newest_file.batch_id from newest_file
        where newest_file.batch_id not in (select batches.batch_id from batches)
    )
    {%- endif %}

),

units as (

    select
        'stg_groups' as _source_table,
        lists.group_id,
        ids.agent_id::bigint as agent_id,
        1 as list_rank,
        ids.position as _source_position,
        lists._day,
        lists._batch_id,
        lists._source_file,
        lists._source_row
    from lists
    cross join lateral jsonb_array_elements_text(lists.agent_ids) with ordinality as ids (agent_id, position)
    union all
    select
        'stg_group_memberships' as _source_table,
        group_id,
        agent_id,
        1 as list_rank,
        1 as _source_position,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from filed

),

ranked as (

    select
        units.*,
        row_number() over (
            partition by units.group_id, units.agent_id
            order by units._day desc, {{ first_unit('units') }}
        ) as _rank
    from units

)

select
    ranked.group_id,
    ranked.agent_id,
    ranked._source_table,
    ranked._source_position,
    ranked._day,
    ranked._batch_id,
    ranked._source_file,
    ranked._source_row,
    agents.agent_id is not null as is_known_agent,
    groups.group_id is not null as is_known_group
from ranked
left join agents on ranked.agent_id = agents.agent_id
left join groups on ranked.group_id = groups.group_id
where ranked._rank = 1
