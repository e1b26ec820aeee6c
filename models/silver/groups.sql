-- A group is present when the newest applied list names it, also in a record that is not valid.

{{
    config(
        unique_key='group_id',
        tags=['groups'],
        meta={'pipeline': 'groups', 'tables': ['stg_groups'], 'records': 'int_groups_records', 'presence': ['is_present']},
    )
}}

{% set listed_otherwise %}
    select held.group_id
    from {{ this }} as held
    left join listed on held.group_id = listed.group_id
    where held.is_present <> (listed.group_id is not null)
{% endset %}

with listed as (

    select distinct group_id from {{ ref('int_groups_records') }}
    where _day = {{ newest_day('int_groups_records', 'stg_groups') }}

),

latest as (

    {{ winning_records(ref('int_groups_records'), 'group_id', also=listed_otherwise) }}

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
    statement_timestamp() as _updated_at
from latest
left join listed on latest.group_id = listed.group_id
