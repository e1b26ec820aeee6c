-- Who is on the lists of these days.
select agent_id, name
from (
    select bronze.id_text(agent_id) as agent_id, name from bronze.stg_agents
    where _day = %(stg_agents)s
    union all
    select bronze.id_text(agent_id), name from bronze.stg_agent_details
    where _day = %(stg_agent_details)s
) as listed
where bronze.bare(name) is not null and agent_id is not null
