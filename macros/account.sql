{% macro account(meta, work, columns) -%}
    {#- Follows the CTEs `judged` (rows to write) and `deleted`: what this run wrote and what its batches
        came to, in one statement with the writing: a success row exists only if its rows do. A build
        that found nothing to do says so. -#}
    {%- set batch_id = '_batch_id' if '_batch_id' in columns else 'null::bigint' -%}
    {%- set new = work.pending | reject('in', work.again) | list -%}
    {%- set other = 'released' if meta.releases else 'rerated' -%}
asked as (

    select coalesce({{ app_day() }}, max(day)) as day from {{ source('control', 'applied_batches') }}

),

changes as (

    select
        {{ batch_id }} as batch_id,
        case when _is_new then 'inserted' when _differs then 'updated' else 'presence' end as change
    from judged
    union all
    select {{ batch_id }}, 'deleted' from deleted

),

batches (table_name, day, is_again, change) as (

    select idle.table_name, asked.day, null::boolean, null
    from unnest('{ {{- meta.tables | reject('in', work.pending | map(attribute='table_name') | list) | join(', ') -}} }'::text []) as idle (table_name)
    cross join asked
    {%- if work.pending %}
    union all
    values
    {%- for row in work.pending %}
    ('{{ row.table_name }}', '{{ row.day }}'::date, {{ row in work.again }}, null){% if not loop.last %},{% endif %}
    {%- endfor %}
    {%- endif %}
    union all
    select coalesce(landed.table_name, '{{ meta.tables[0] }}'), coalesce(landed.day, asked.day), null, changes.change
    from changes
    left join {{ source('ledger', 'load_batches') }} as landed on changes.batch_id = landed.batch_id
    cross join asked

),

counted as (

    select
        table_name,
        day,
        {{ 'bool_or(not is_again) is true' if meta.releases else 'bool_or(is_again) is not true' }} as is_counted,
        {%- for change in ['inserted', 'updated', 'presence', 'deleted'] %}
        count(*) filter (where change = '{{ change }}') as {{ change }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    from batches
    group by table_name, day

),

came_to as (

    select
        _source_table as table_name,
        _day as day,
        count(*) as landed,
        count(*) filter (where _outcome = 'stale') as stale,
        count(*) filter (where _outcome = 'duplicate') as duplicate,
        count(*) filter (where _outcome = 'quarantined') as quarantined
    {%- if meta.records and not work.covered %}
    from {{ ref(meta.records) }} as held
    where {{ of_batches(new) }}
        and _outcome is not null
    {%- else %}
    from (select null as _source_table, null::date as _day, null as _outcome where false) as nothing
    {%- endif %}
    group by _source_table, _day

)

insert into {{ source('control', 'pipeline_metrics') }} (
    flow_run_id, task_name, pipeline_name, table_name, day,
    rows_inserted, rows_updated, rows_{{ other }}, rows_presence, rows_deleted,
    rows_unchanged, rows_stale, rows_duplicate, rows_quarantined, rows_landed,
    status, started_at, finished_at, duration_seconds
)
select
    {{ run_id() }},
    '{{ model.name }}',
    '{{ meta.pipeline }}',
    table_name,
    day,
    case when is_counted then inserted else 0 end,
    case when is_counted then updated else 0 end,
    case when is_counted then 0 else inserted + updated end,
    presence,
    deleted,
    greatest(landed - stale - duplicate - quarantined - inserted - updated, 0),
    {%- for outcome in ['stale', 'duplicate', 'quarantined', 'landed'] %}
    coalesce({{ outcome }}, 0),
    {%- endfor %}
    'success',
    now(),
    clock_timestamp(),
    greatest(extract(epoch from clock_timestamp() - now()), 0.000001)
from counted
left join came_to using (table_name, day)
{%- endmacro %}
