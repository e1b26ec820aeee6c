-- A pair that names someone unknown belongs in quarantine. Who fixes: whoever changed the pairs.

{{ config(tags=['groups']) }}

select memberships.*
from {{ ref('group_memberships') }} as memberships
left join {{ ref('agents') }} as agents on memberships.agent_id = agents.agent_id
left join {{ ref('groups') }} as groups on memberships.group_id = groups.group_id
where agents.agent_id is null or groups.group_id is null
