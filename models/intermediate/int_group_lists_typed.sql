-- The lists of members that valid group records carry. Null or no list says nothing, so it is no
-- row here: the group keeps the newest list it had.

{{ config(tags=['groups']) }}

with groups as (

    select * from {{ ref('int_groups_typed') }}

)

select
    group_id,
    name,
    description,
    parent_group_id,
    agent_ids,
    created_at,
    updated_at,
    case when _list_is_malformed then array['agent_ids_invalid'] else '{}' end::text [] as _errors,
    _landed,
    _extra,
    _day,
    _batch_id,
    _source_file,
    _source_row
from groups
where cardinality(_errors) = 0 and (agent_ids is not null or _list_is_malformed)
