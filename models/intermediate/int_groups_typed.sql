-- A list that is not an array of ids is null here and marked: it goes to quarantine alone, and the
-- group's row stays valid.

{{ config(tags=['groups']) }}

{% set ids = '("-?[0-9]+"|-?(0|[1-9][0-9]*))' %}

with typed as (

    {{ typed_records(source('bronze', 'stg_groups'), 'stg_groups', required=['group_id'], lenient=['agent_ids'], keep_landed='true') }}

),

read as (

    select
        typed.*,
        coalesce(typed.agent_ids_text, '') !~ '\S' or btrim(typed.agent_ids_text) = 'null' as _has_no_list,
        typed.agent_ids_text ~ '^\s*\[\s*({{ ids }}\s*(,\s*{{ ids }}\s*)*)?\]\s*$'
        and (
            typed.agent_ids_text !~ '[0-9]{19}'
            or not exists (
                select 1 from jsonb_array_elements_text(typed.agent_ids) as ids (id)
                where not pg_input_is_valid(ids.id, 'bigint')
            )
        ) as _has_ids
    from typed

)

select
    group_id,
    name,
    description,
    parent_group_id,
    case when _has_ids then agent_ids end as agent_ids,
    created_at,
    updated_at,
    not (_has_no_list or coalesce(_has_ids, false)) as _list_is_malformed,
    _errors,
    _landed,
    _extra,
    _day,
    _batch_id,
    _source_file,
    _source_row
from read
