-- A list with what is no id is no list of roles: taken for an empty one, it would remove and assign them all.

{{ config(tags=['agents', 'groups', 'roles']) }}

{{
    typed_records(
        'stg_agent_details',
        required=['agent_id', 'email', 'name'],
        arrays=['group_ids'],
        checks={'role_ids_invalid': 'typed.role_ids is not null and ' ~ ids_of('typed.role_ids', '(typed._record).role_ids') ~ ' is null'},
    )
}}
