-- A group is present when the newest applied list names it, also in a record that is not valid.

{{
    config(
        unique_key='group_id',
        tags=['groups'],
        meta={'pipeline': 'groups', 'tables': ['stg_groups'], 'records': 'int_groups_records', 'presence': ['is_present']},
    )
}}

with records as not materialized (

    select * from {{ ref('int_groups_records') }}

),

listed as (

    select distinct group_id from records
    where _day = {{ newest_day('int_groups_records', 'stg_groups') }}

),

changed as (

    {{ changed_keys('records', ['group_id'], plan()) }}
    {%- if is_incremental() %}
    union
    select held.group_id
    from {{ this }} as held
    left join listed on held.group_id = listed.group_id
    where held.is_present <> (listed.group_id is not null)
    {%- endif %}

),

latest as (

    select winner.*
    from changed
    cross join
        lateral (
            select * from records
            where records.group_id = changed.group_id
                and records._outcome in ('inserted', 'updated', 'unchanged')
            order by records._day desc
            limit 1
        ) as winner

)

select
    latest.group_id,
    latest.name,
    latest.description,
    latest.parent_group_id,
    latest.agent_ids,
    latest.created_at,
    latest.updated_at,
    listed.group_id is not null as is_present,
    latest._day,
    latest._batch_id,
    latest._source_file,
    latest._source_row,
    clock_timestamp() as _updated_at
from latest
left join listed on latest.group_id = listed.group_id
