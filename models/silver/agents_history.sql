-- What silver.agents said, day by day: a record holds from its day to the day before the next that won.

{{ config(materialized='view', tags=['agents', 'groups', 'roles']) }}

with records as (

    select * from {{ ref('int_agents_records') }}
    where _outcome in ('inserted', 'updated')

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
    _day as valid_from,
    lead(_day) over (partition by agent_id order by _day) - 1 as valid_to,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
