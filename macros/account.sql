{% macro account(has_batch) -%}
    {#- Follows the CTEs `judged` (rows to write) and `deleted`, in one statement with the writing: a
        success row exists only if its rows do. A table of which there was nothing to do has a row
        that says so. -#}
    {%- set meta, work = model.config.meta, plan() -%}
    {%- set tables = meta.tables or [model.name] -%}
    {%- set batch_id = '_batch_id' if has_batch else 'null::bigint' -%}
    {#- what is written though no new batch brought it -#}
    {%- set again = 'released' if meta.releases else 'rerated' -%}
    {%- set counts = ['inserted', 'updated', again, 'presence', 'deleted', 'stale', 'duplicate', 'quarantined', 'landed'] -%}
    {%- set busy = work.pending | map(attribute='table_name') | list -%}
happened (table_name, day, what) as (
    select landed.table_name, landed.day, written.what
    from (
        select
            {{ batch_id }} as batch_id,
            case
                when not (_is_new or _differs) then 'presence'
                when {{ batch_id }} = any({{ array_of(work.again, 'bigint') }}) then '{{ again }}'
                when _is_new then 'inserted'
                else 'updated'
            end as what
        from judged
        where not _is_gone
        union all
        select {{ batch_id }}, 'deleted' from deleted
    ) as written
    left join {{ source('ledger', 'load_batches') }} as landed on written.batch_id = landed.batch_id
    {%- if meta.records and not work.covered %}
    union all
    select _source_table, _day, unnest(array['landed', case when _outcome in ('stale', 'duplicate', 'quarantined') then _outcome end])
    from {{ ref(meta.records) }} as held
    where {{ work.is_pending }} and _outcome is not null
    {%- endif %}
    union all
    select *, null
    from unnest(
        {{ array_of(busy + (tables | reject('in', busy) | list), 'text') }},
        {{ array_of(work.pending | map(attribute='day'), 'date') }}
    )
),

counted as (
    select
        coalesce(table_name, '{{ tables[0] }}') as table_name,
        coalesce(day, {{ app_day() }}, (select max(applied.day) from {{ source('control', 'applied_batches') }} as applied)) as day,
        {%- for what in counts %}
        count(*) filter (where what = '{{ what }}') as {{ what }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    from happened
    group by 1, 2
)

insert into {{ source('control', 'pipeline_metrics') }} (
    flow_run_id, task_name, pipeline_name, table_name, day, rows_{{ counts | join(', rows_') }}, rows_unchanged,
    status, started_at, finished_at, duration_seconds
)
select
    {{ run_id() }}, '{{ model.name }}', '{{ meta.pipeline }}', table_name, day, {{ counts | join(', ') }},
    greatest(landed - stale - duplicate - quarantined - inserted - updated, 0),
    'success', now(), clock_timestamp(), greatest(extract(epoch from clock_timestamp() - now()), 0.000001)
from counted
{%- endmacro %}
