-- An agent is active when the newest applied list names it, also in a record that is not valid, and
-- the winning record does not say otherwise. Who left the list is worked out anew with who is on it.
-- Loaders match the names on cards with these: the grant, where a server has their role.

{{
    config(
        unique_key='agent_id',
        tags=['agents', 'groups'],
        post_hook="do $$ begin grant select (agent_id, name) on {{ this }} to daybook_loader; exception when undefined_object then null; end $$",
        meta={
            'pipeline': 'agents',
            'tables': ['stg_agents', 'stg_agent_details'],
            'records': 'int_agents_records',
            'presence': ['status', 'first_seen_day', 'last_seen_day'],
        },
    )
}}

{% set listed_otherwise %}
    -- who is on the list no more, and who was seen on a day that says something else now
    select held.agent_id
    from {{ this }} as held
    left join listed on held.agent_id = listed.agent_id
    where held.first_seen_day = any({{ plan().days }})
        or held.last_seen_day = any({{ plan().days }})
        or (held.status = 'active')
        <> (listed.agent_id is not null and held.deactivated is not true and held.contact_active is not false)
{% endset %}

with listed as (

    select distinct agent_id from {{ ref('int_agents_records') }}
    where _source_table = 'stg_agents' and _day = {{ newest_day('int_agents_records', 'stg_agents') }}

),

latest as (

    {{ winning_records(ref('int_agents_records'), 'agent_id', also=listed_otherwise) }}

)

select
    latest.agent_id,
    latest.email,
    latest.name,
    latest.job_title,
    latest.language,
    latest.mobile,
    latest.phone,
    latest.time_zone,
    latest.contact_active,
    latest.available,
    latest.available_since,
    latest.deactivated,
    latest.focus_mode,
    latest.agent_operational_status,
    latest.last_active_at,
    latest.last_login_at,
    latest.org_agent_id,
    latest.ticket_scope,
    latest.signature,
    latest.freshchat_agent,
    latest.created_at,
    latest.updated_at,
    latest.role_ids,
    latest.group_ids,
    case
        when listed.agent_id is not null and latest.deactivated is not true and latest.contact_active is not false
            then 'active'
        else 'inactive'
    end as status,
    seen.first_seen_day,
    seen.last_seen_day,
    latest._day,
    latest._batch_id,
    latest._source_file,
    latest._source_row,
    statement_timestamp() as _updated_at
from latest
left join listed on latest.agent_id = listed.agent_id
cross join
    lateral (
        select
            min(_day) as first_seen_day,
            max(_day) as last_seen_day
        from {{ ref('int_agents_records') }}
        where agent_id = latest.agent_id
    ) as seen
