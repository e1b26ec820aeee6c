{% macro record_outcomes(meta, plan) -%}
    {#- Follows the CTEs `outcomes` (_batch_id, outcome, records) and `deleted` (_day). -#}
    {%- set pending_ids = "'{" ~ plan.pending | join(', ') ~ "}'::bigint []" -%}
pending_batches as (

    select * from {{ ref('int_batches') }}
    where batch_id = any({{ pending_ids }})

),

per_batch as (

    select
        batches.table_name,
        batches.day,
        batches.batch_id,
        batches.batch_id = any({{ pending_ids }}) as is_pending,
        {%- for outcome in ['inserted', 'updated', 'unchanged', 'stale', 'duplicate', 'quarantined', 'released'] %}
        coalesce(sum(outcomes.records) filter (where outcomes.outcome = '{{ outcome }}'), 0) as {{ outcome }},
        {%- endfor %}
        {% if meta.units -%}
        coalesce(sum(outcomes.records) filter (where outcomes.outcome <> 'released'), 0) as landed
        {%- else -%}
        batches.rows_landed as landed
        {%- endif %}
    from {{ ref('int_batches') }} as batches
    left join outcomes on batches.batch_id = outcomes._batch_id
    where batches.batch_id = any({{ pending_ids }}) or outcomes.outcome in ('inserted', 'updated', 'released')
    group by batches.table_name, batches.day, batches.batch_id, batches.rows_landed

),

applied as (

    insert into {{ source('control', 'applied_batches') }} as held (
        model, table_name, day, batch_id, flow_run_id, applied_at, rows_landed,
        rows_inserted, rows_updated, rows_unchanged, rows_stale, rows_duplicate, rows_quarantined
    )
    select
        '{{ model.name }}',
        table_name,
        day,
        batch_id,
        {{ run_id() }},
        clock_timestamp(),
        landed,
        inserted,
        updated,
        unchanged,
        stale,
        duplicate,
        quarantined
    from per_batch
    where is_pending
    on conflict (model, table_name, day) do update set
        batch_id = excluded.batch_id,
        flow_run_id = excluded.flow_run_id,
        applied_at = excluded.applied_at,
        {%- for count in ['landed', 'inserted', 'updated', 'unchanged', 'stale', 'duplicate', 'quarantined'] %}
        rows_{{ count }} = excluded.rows_{{ count }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    -- the ledger shows the evaluation that first applied a batch
    where held.batch_id <> excluded.batch_id

),

-- A build that found nothing to do says so.
idle as (

    select
        table_name,
        coalesce({{ app_day() }}, (select max(day) from {{ source('control', 'applied_batches') }} where model = '{{ model.name }}')) as day
    from unnest('{ {{- meta.tables | join(', ') -}} }'::text []) as idle_tables (table_name)
    where not exists (select 1 from per_batch)

),

deletions as (

    select
        coalesce((select min(table_name) from per_batch where per_batch.day = deleted._day), '{{ meta.tables[0] }}') as table_name,
        deleted._day as day,
        count(*) as deleted
    from deleted
    group by deleted._day

)

insert into {{ source('control', 'pipeline_metrics') }} (
    flow_run_id, task_name, pipeline_name, table_name, day,
    rows_inserted, rows_updated, rows_rerated, rows_deleted, rows_unchanged, rows_stale, rows_duplicate, rows_quarantined, rows_released, rows_landed,
    status, started_at, finished_at, duration_seconds
)
select
    {{ run_id() }},
    '{{ model.name }}',
    '{{ meta.pipeline }}',
    table_name,
    day,
    {% if plan.recheck -%}
    coalesce(per_batch.inserted, 0) * coalesce(per_batch.is_pending, false)::int,
    coalesce(per_batch.updated, 0) * coalesce(per_batch.is_pending, false)::int,
    coalesce(per_batch.inserted + per_batch.updated, 0) * coalesce(not per_batch.is_pending, false)::int,
    {%- else -%}
    coalesce(per_batch.inserted, 0),
    coalesce(per_batch.updated, 0),
    0,
    {%- endif %}
    coalesce(deletions.deleted, 0),
    coalesce(per_batch.unchanged, 0) * coalesce(per_batch.is_pending, false)::int,
    coalesce(per_batch.stale, 0),
    coalesce(per_batch.duplicate, 0),
    coalesce(per_batch.quarantined, 0),
    coalesce(per_batch.released, 0),
    coalesce(per_batch.landed, 0) * coalesce(per_batch.is_pending, false)::int,
    'success',
    current_setting('daybook.started')::timestamptz,
    clock_timestamp(),
    greatest(extract(epoch from clock_timestamp() - current_setting('daybook.started')::timestamptz), 0.000001)
from per_batch
full join deletions using (table_name, day)
full join idle using (table_name, day)
{%- endmacro %}
