{{
    config(
        unique_key='group_id',
        tags=['groups'],
        meta={'pipeline': 'marts', 'tables': ['stg_groups'], 'whole': true},
    )
}}

with activity as (

    select * from {{ ref('group_activity') }}
    where inactive

),

members as (

    select
        group_id,
        count(*) as members
    from {{ ref('group_memberships') }}
    group by group_id

)

select
    activity.group_id,
    activity.name,
    activity.parent_group_id,
    coalesce(members.members, 0) as members
from activity
left join members on activity.group_id = members.group_id
