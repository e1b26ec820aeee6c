-- The newest snapshot's pairs, worked out whole: an agent that becomes known releases pairs that no
-- new file names.

{{
    config(
        unique_key=['group_id', 'agent_id'],
        tags=['groups'],
        meta={
            'pipeline': 'groups',
            'tables': ['stg_groups', 'stg_group_memberships'],
            'records': 'int_group_memberships_records',
            'whole': true,
            'releases': true,
        },
    )
}}

with groups as (

    select group_id from {{ ref('groups') }}

),

agents as (

    select agent_id from {{ ref('agents') }}

),

group_records as not materialized (

    select * from {{ ref('int_groups_records') }}

),

units as not materialized (

    select * from {{ ref('int_group_memberships_records') }}

),

present as (

    select distinct group_id from group_records
    where _day = {{ newest_day('int_groups_records', 'stg_groups') }}

),

-- each group by its newest readable list until then
lists as (

    select newest.*
    from present
    cross join
        lateral (
            select * from group_records
            where group_records.group_id = present.group_id
                and group_records._day <= {{ newest_day('int_groups_records', 'stg_groups') }}
                and cardinality(group_records._errors) = 0
                and group_records._member_ids is not null
            order by
                group_records._day desc,
                group_records.updated_at desc nulls last,
                group_records._source_file collate "C" desc,
                group_records._source_row desc
            limit 1
        ) as newest

),

claims as (

    select
        lists.group_id,
        members.agent_id,
        'stg_groups' as _source_table,
        lists._day,
        lists._batch_id,
        lists._source_file,
        lists._source_row
    from lists
    cross join lateral unnest(lists._member_ids) as members (agent_id)
    union all
    select group_id, agent_id, _source_table, _day, _batch_id, _source_file, _source_row from units
    where _source_table = 'stg_group_memberships'
        and _day = {{ newest_day('int_group_memberships_records', 'stg_group_memberships') }}
        and _outcome <> 'quarantined'

),

-- a pair once, with where it stands
pairs as (

    select distinct on (group_id, agent_id) * from claims
    order by group_id asc, agent_id asc, _day desc, _source_table desc, _source_file collate "C" desc, _source_row desc

)

select
    pairs.group_id,
    pairs.agent_id,
    pairs._day,
    pairs._batch_id,
    pairs._source_file,
    pairs._source_row,
    statement_timestamp() as _updated_at
from pairs
inner join groups on pairs.group_id = groups.group_id
inner join agents on pairs.agent_id = agents.agent_id
