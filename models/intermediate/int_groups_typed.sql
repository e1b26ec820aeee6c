-- A list that is not an array of ids goes to quarantine alone, and the group's row stays valid.

{{ config(tags=['groups']) }}

with typed as (

    {{ typed_records('stg_groups', required=['group_id'], keep_landed='true') }}

),

listed as (

    select
        typed.*,
        _landed ->> 'agent_ids' as agent_ids_text,
        {{ ids_of('typed.agent_ids', "(_landed ->> 'agent_ids')") }} as _member_ids
    from typed

)

select
    group_id,
    name,
    description,
    parent_group_id,
    case when _member_ids is not null then agent_ids end as agent_ids,
    created_at,
    updated_at,
    _member_ids,
    _member_ids is null and {{ has_text('agent_ids_text') }} and btrim(agent_ids_text) <> 'null' as _list_is_malformed,
    array_remove(_errors, 'agent_ids_invalid') as _errors,
    _landed,
    _extra,
    _day,
    _batch_id,
    _source_file,
    _source_row
from listed
