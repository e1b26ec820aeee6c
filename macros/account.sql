{% macro account(meta, work, columns) -%}
    {#- Follows the CTEs `judged` (rows to write) and `deleted`: what this run wrote and what its batches
        came to, in one statement with the writing: a success row exists only if its rows do. -#}
    {%- set lineage = '_batch_id' in columns %}
changes as (

    select
        {{ '_batch_id' if lineage else 'null::bigint as _batch_id' }},
        case when _is_new then 'inserted' when _differs then 'updated' else 'presence' end as change
    from judged
    union all
    select
        {{ '_batch_id' if lineage else 'null::bigint as _batch_id' }},
        'deleted' as change
    from deleted

),

pending (table_name, day, batch_id, is_again) as (

    values
    {%- for row in work.pending %}
    ('{{ row.table_name }}', '{{ row.day }}'::date, {{ row.batch_id }}::bigint, {{ row.batch_id == row.held_batch_id }}){% if not loop.last %},{% endif %}
    {%- else %}
    (null, null::date, null::bigint, false)
    {%- endfor %}

),

by_day as (

    select
        coalesce(pending.table_name, batches.table_name, '{{ meta.tables[0] }}') as table_name,
        coalesce(pending.day, batches.day, {{ app_day() }}, newest.day) as day,
        coalesce(bool_or(pending.batch_id is not null and not pending.is_again), false) as is_pending,
        coalesce(bool_or(pending.is_again), false) as is_again,
        {%- for change in ['inserted', 'updated', 'presence', 'deleted'] %}
        count(*) filter (where changes.change = '{{ change }}') as {{ change }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    from changes
    full join (select * from pending where table_name is not null) as pending on changes._batch_id = pending.batch_id
    left join {{ source('ledger', 'load_batches') }} as batches on changes._batch_id = batches.batch_id
    cross join (select max(day) as day from {{ source('control', 'applied_batches') }}) as newest
    group by 1, 2

),

-- a build that found nothing to do says so
counted as (

    select * from by_day
    union all
    select idle.table_name, coalesce({{ app_day() }}, (select max(day) from {{ source('control', 'applied_batches') }})), false, false, 0, 0, 0, 0
    from unnest('{ {{- meta.tables | join(', ') -}} }'::text []) as idle (table_name)
    where not exists (select 1 from by_day where by_day.table_name = idle.table_name)

),

came_to as (

    {% if meta.records and work.pending and not meta.covers -%}
    select
        _source_table as table_name,
        _day as day,
        count(*) as landed,
        count(*) filter (where _outcome = 'stale') as stale,
        count(*) filter (where _outcome = 'duplicate') as duplicate,
        count(*) filter (where _outcome = 'quarantined') as quarantined
    from {{ ref(meta.records) }}
    where _day = any('{ {{- work.pending | map(attribute='day') | join(', ') -}} }'::date [])
        and _batch_id = any('{ {{- work.pending | map(attribute='batch_id') | join(', ') -}} }'::bigint [])
        and _outcome is not null
    group by _source_table, _day
    {%- else -%}
    select null as table_name, null::date as day, 0 as landed, 0 as stale, 0 as duplicate, 0 as quarantined
    where false
    {%- endif %}

)

insert into {{ source('control', 'pipeline_metrics') }} (
    flow_run_id, task_name, pipeline_name, table_name, day,
    rows_inserted, rows_updated, rows_rerated, rows_released, rows_presence, rows_deleted,
    rows_unchanged, rows_stale, rows_duplicate, rows_quarantined, rows_landed,
    status, started_at, finished_at, duration_seconds
)
select
    {{ run_id() }},
    '{{ model.name }}',
    '{{ meta.pipeline }}',
    counted.table_name,
    counted.day,
    {% if meta.releases -%}
    case when counted.is_pending then counted.inserted else 0 end,
    counted.updated,
    0,
    case when counted.is_pending then 0 else counted.inserted end,
    {%- else -%}
    case when counted.is_again then 0 else counted.inserted end,
    case when counted.is_again then 0 else counted.updated end,
    case when counted.is_again then counted.inserted + counted.updated else 0 end,
    0,
    {%- endif %}
    counted.presence,
    counted.deleted,
    case
        when counted.is_pending
            then greatest(came_to.landed - came_to.stale - came_to.duplicate - came_to.quarantined - counted.inserted - counted.updated, 0)
        else 0
    end,
    {%- for outcome in ['stale', 'duplicate', 'quarantined', 'landed'] %}
    case when counted.is_pending then coalesce(came_to.{{ outcome }}, 0) else 0 end,
    {%- endfor %}
    'success',
    now(),
    clock_timestamp(),
    greatest(extract(epoch from clock_timestamp() - now()), 0.000001)
from counted
left join came_to on counted.table_name = came_to.table_name and counted.day = came_to.day
{%- endmacro %}


{% macro after_upsert() -%}
    {#- dbt makes the table of a first build by itself, without the strategy: this hook accounts
        for it in the same transaction. -#}
    {%- set work = plan() if is_building() else {} -%}
    {%- if work.is_written -%}
    {{ look_again(work) }}
    {%- elif work -%}
    {%- set meta = model.config.meta or {} -%}
    {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list %}
-- what is built on it next must not be planned for an empty table
analyze {{ this }};
    {%- if meta.pipeline %}

with judged as (
    select *, true as _is_new, true as _differs from {{ this }}
),

deleted as (
    select * from {{ this }} where false
),

{{ account(meta, work, columns) }}
    {%- endif %}
    {%- if meta.records %};

{{ record_applied(work) }}
    {%- endif %}
    {%- endif %}
{%- endmacro %}
