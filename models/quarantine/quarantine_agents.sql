{{ config(alias='agents', tags=['agents', 'groups', 'roles']) }}

with records as (

    select * from {{ ref('int_agents_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'agent_id', agent_id::text) as agent_id,
    coalesce(_landed ->> 'email', email::text) as email,
    coalesce(_landed ->> 'name', name::text) as name,
    coalesce(_landed ->> 'job_title', job_title::text) as job_title,
    coalesce(_landed ->> 'language', language::text) as language,
    coalesce(_landed ->> 'mobile', mobile::text) as mobile,
    coalesce(_landed ->> 'phone', phone::text) as phone,
    coalesce(_landed ->> 'time_zone', time_zone::text) as time_zone,
    coalesce(_landed ->> 'contact_active', contact_active::text) as contact_active,
    coalesce(_landed ->> 'available', available::text) as available,
    coalesce(_landed ->> 'available_since', available_since::text) as available_since,
    coalesce(_landed ->> 'deactivated', deactivated::text) as deactivated,
    coalesce(_landed ->> 'focus_mode', focus_mode::text) as focus_mode,
    coalesce(_landed ->> 'agent_operational_status', agent_operational_status::text) as agent_operational_status,
    coalesce(_landed ->> 'last_active_at', last_active_at::text) as last_active_at,
    coalesce(_landed ->> 'last_login_at', last_login_at::text) as last_login_at,
    coalesce(_landed ->> 'org_agent_id', org_agent_id::text) as org_agent_id,
    coalesce(_landed ->> 'ticket_scope', ticket_scope::text) as ticket_scope,
    coalesce(_landed ->> 'signature', signature::text) as signature,
    coalesce(_landed ->> 'freshchat_agent', freshchat_agent::text) as freshchat_agent,
    coalesce(_landed ->> 'created_at', created_at::text) as created_at,
    coalesce(_landed ->> 'updated_at', updated_at::text) as updated_at,
    coalesce(_landed ->> 'role_ids', role_ids::text) as role_ids,
    coalesce(_landed ->> 'group_ids', group_ids::text) as group_ids,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
