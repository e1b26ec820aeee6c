-- What agents and agent_details say of each agent. An agent_details record beats an agents record,
-- whenever either was written: its seconds count a million million more.

{{
    config(
        materialized='incremental',
        incremental_strategy='by_batch',
        full_refresh=false,
        tags=['agents', 'groups', 'roles'],
        indexes=[{'columns': ['agent_id', '_day desc']}, {'columns': ['_day', '_outcome', '_source_table', '_batch_id']}],
        meta={'pipeline': 'agents', 'tables': ['stg_agents', 'stg_agent_details']},
    )
}}

with listed as (

    select
        agent_id, email, name, job_title, language, mobile, phone, time_zone, contact_active, available,
        available_since, deactivated, focus_mode, agent_operational_status, last_active_at, last_login_at,
        org_agent_id, ticket_scope, signature, freshchat_agent, created_at, updated_at,
        null::jsonb as role_ids,
        null::jsonb as group_ids,
        _errors,
        _landed,
        _extra,
        'stg_agents' as _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ ref('int_agents_typed') }}
    where {{ plan().is_pending }}

),

detailed as (

    select
        agent_id, email, name, job_title, language, mobile, phone, time_zone, contact_active, available,
        available_since, deactivated, focus_mode, agent_operational_status, last_active_at, last_login_at,
        org_agent_id, ticket_scope, signature, freshchat_agent, created_at, updated_at, role_ids, group_ids,
        _errors, _landed, _extra,
        'stg_agent_details' as _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ ref('int_agent_details_typed') }}
    where {{ plan().is_pending }}

),

typed as (

    select * from listed
    union all
    select * from detailed

),

judged as (

    {{
        judge(
            'typed',
            'stg_agent_details',
            last_write="case _source_table when 'stg_agents' then extract(epoch from updated_at) else coalesce(extract(epoch from updated_at), -1e12) + 2e12 end",
        )
    }}

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
    _outcome,
    _errors,
    _landed,
    _extra,
    _hash,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from judged
where _outcome is distinct from _outcome_before
