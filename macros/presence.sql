{% macro count_presence(changed) -%}
    {#- Adds the rows of the `changed` CTE to what this run's metrics say of the model. -#}
    update {{ source('control', 'pipeline_metrics') }} as metrics
    set rows_presence = (select count(*) from {{ changed }})
    where metrics.id = (
        select max(newest.id) from {{ source('control', 'pipeline_metrics') }} as newest
        where newest.task_name = '{{ model.name }}' and newest.flow_run_id = {{ run_id() }} and newest.status = 'success'
    )
{%- endmacro %}


{% macro newest_day(model, table) -%}
    (
        select max(applied.day) from {{ source('control', 'applied_batches') }} as applied
        where applied.model = '{{ model }}' and applied.table_name = '{{ table }}'
    )
{%- endmacro %}


{% macro note_replaced(model, tables) -%}
    {#- For the hooks that run once the batches are applied: whether some took another's place. -#}
    {%- set plan = work_plan(model, tables) -%}
    select set_config('daybook.replaced', '{{ 'yes' if plan.rebuild or plan.replaced else 'no' }}', true)
{%- endmacro %}


{% macro agent_presence() -%}
    {#- Status by the newest list; first and last seen by all that was ever said. What earlier days
        said is read again only for agents whose row was written, and when a day was landed anew:
        a day's cost does not grow with history. -#}
with listed as (

    select agent_id from {{ ref('int_agent_sightings') }}
    where table_name = 'stg_agents' and day = {{ newest_day('agents', 'stg_agents') }}

),

seen as (

    select
        agent_id,
        min(day) as first_seen_day,
        max(day) as last_seen_day
    from {{ ref('int_agent_sightings') }}
    where current_setting('daybook.replaced') = 'yes'
    group by agent_id
    union all
    select
        sightings.agent_id,
        min(sightings.day),
        max(sightings.day)
    from {{ this }} as agents
    inner join {{ ref('int_agent_sightings') }} as sightings on agents.agent_id = sightings.agent_id
    where current_setting('daybook.replaced') = 'no'
        and agents._updated_at >= current_setting('daybook.started')::timestamptz
    group by sightings.agent_id
    union all
    select
        agents.agent_id,
        least(agents.first_seen_day, min(pending._day)),
        greatest(agents.last_seen_day, max(pending._day))
    from {{ this }} as agents
    inner join {{ ref('int_agents_pending') }} as pending on agents.agent_id = pending.agent_id
    where current_setting('daybook.replaced') = 'no'
        and agents._updated_at < current_setting('daybook.started')::timestamptz
        and pending._is_pending
    group by agents.agent_id

),

presence as (

    select
        agents.agent_id,
        coalesce(seen.first_seen_day, agents.first_seen_day) as first_seen_day,
        coalesce(seen.last_seen_day, agents.last_seen_day) as last_seen_day,
        case
            when listed.agent_id is not null and agents.deactivated is not true and agents.contact_active is not false
                then 'active'
            else 'inactive'
        end as status
    from {{ this }} as agents
    left join listed on agents.agent_id = listed.agent_id
    left join seen on agents.agent_id = seen.agent_id

),

changed as (

    update {{ this }} as agents
    set
        status = presence.status,
        first_seen_day = presence.first_seen_day,
        last_seen_day = presence.last_seen_day
    from presence
    where agents.agent_id = presence.agent_id
        and (agents.status, agents.first_seen_day, agents.last_seen_day)
        is distinct from (presence.status, presence.first_seen_day, presence.last_seen_day)
    returning agents.agent_id

)

{{ count_presence('changed') }}
{%- endmacro %}


{% macro group_presence() -%}
    {#- A group is present when the newest list names it, also in a record that is not valid. While
        that list's day is landed again only in part, all stays as it is. -#}
with newest as (

    select
        applied.day,
        applied.batch_id
    from {{ source('control', 'applied_batches') }} as applied
    inner join {{ ref('int_batches') }} as batches on applied.batch_id = batches.batch_id
    where applied.model = 'groups' and applied.table_name = 'stg_groups' and applied.day = {{ newest_day('groups', 'stg_groups') }}

),

listed as (

    select distinct group_id from {{ ref('int_groups_typed') }}
    where _day = (select newest.day from newest) and _batch_id = (select newest.batch_id from newest)

),

changed as (

    update {{ this }} as groups
    set is_present = not groups.is_present
    where groups.is_present <> exists (select 1 from listed where listed.group_id = groups.group_id)
        and exists (select 1 from newest)
    returning groups.group_id

)

{{ count_presence('changed') }}
{%- endmacro %}
