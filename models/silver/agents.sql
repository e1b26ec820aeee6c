-- An agent_details record beats an agents record; then last write wins. Presence is set once the
-- records are in, because it also changes for agents that no file names today.

-- depends_on: {{ ref('quarantine_agents') }}
-- depends_on: {{ ref('int_agent_sightings') }}

{{
    config(
        unique_key='agent_id',
        tags=['agents', 'groups'],
        meta={
            'pipeline': 'agents',
            'tables': ['stg_agents', 'stg_agent_details'],
            'pending': 'int_agents_pending',
            'order': ['_source_rank', 'updated_at'],
            'presence': ['status', 'first_seen_day', 'last_seen_day'],
        },
        pre_hook=['{{ started() }}', "{{ note_replaced('agents', ['stg_agents', 'stg_agent_details']) }}"],
        post_hook=['{{ account_first_build() }}', '{{ agent_presence() }}'],
    )
}}

with pending as (

    select * from {{ ref('int_agents_pending') }}

),

valid as (

    select * from pending
    where _is_valid

),

latest as (

    select * from valid
    where _rank = 1

)

select
    agent_id,
    email,
    name,
    job_title,
    language,
    mobile,
    phone,
    time_zone,
    contact_active,
    available,
    available_since,
    deactivated,
    focus_mode,
    agent_operational_status,
    last_active_at,
    last_login_at,
    org_agent_id,
    ticket_scope,
    signature,
    freshchat_agent,
    created_at,
    updated_at,
    role_ids,
    group_ids,
    'inactive' as status,
    _day as first_seen_day,
    _day as last_seen_day,
    _source_rank,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
