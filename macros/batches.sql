{% macro batches_to_apply(meta, whole, again) -%}
    {#- The batches that the model does not hold, of those that its records took in, or else that
        have landed: the newest of each table and day, of days whose required tables have all
        landed, and of the day that the run asks for. A model that is worked out whole takes in again all
        that it held. -#}
{%- set required = graph.sources.values() | selectattr('meta.required') | map(attribute='name') | sort %}
with whole_days as (
    select day
    from (
        select distinct on (table_name, day) day, status from {{ source('ledger', 'load_batches') }}
        where table_name = any({{ array_of(required, 'text') }}) and day = coalesce({{ app_day() }}, day)
        order by table_name, day, batch_id desc
    ) as newest
    where status in ('succeeded', 'unchanged')
    group by day
    having count(*) = {{ required | length }}
),

landed as (
    select distinct on (batches.table_name, batches.day) batches.table_name, batches.day, batches.batch_id, null::int as revision
    from {{ source('ledger', 'load_batches') }} as batches
    where batches.table_name = any({{ array_of(meta.tables, 'text') }})
        and batches.status in ('succeeded', 'skipped')
        and batches.rows_landed is not null
        and (
            batches.day in (select day from whole_days)
            or {{ whole and not meta.records }} and exists (
                select 1 from {{ source('control', 'applied_batches') }} as applied
                where applied.model = '{{ model.name }}' and applied.table_name = batches.table_name and applied.day = batches.day
            )
        )
    order by batches.table_name asc, batches.day asc, batches.batch_id desc
),

held as (
    select * from {{ source('control', 'applied_batches') }}
    where model = '{{ model.name }}' and table_name = any({{ array_of(meta.tables, 'text') }}) and {{ not whole }}
),

offered as (
    {% if meta.records -%}
    select table_name, day, batch_id, revision from {{ source('control', 'applied_batches') }}
    where model = '{{ meta.records }}' and table_name = any({{ array_of(meta.tables, 'text') }})
    {%- else -%}
    select * from landed
    {%- endif %}
),

pending as (
    select
        table_name,
        day,
        coalesce(offered.batch_id, held.batch_id) as batch_id,
        held.batch_id as held_batch_id,
        coalesce(offered.revision, case when coalesce(offered.batch_id, held.batch_id) = held.batch_id then held.revision + 1 end, 0) as revision
    from offered
    full join held using (table_name, day)
    where held.batch_id is null
        or held.batch_id <> offered.batch_id
        or held.revision <> offered.revision
        or {{ 'false' if whole or not again else again }}
),

refused (refusal) as (
    -- built without its records, a model would find nothing to do, and say that all is well
    select '{{ meta.records }} has yet to take in ' || table_name || ' of ' || day || ': build it too (dbt build --select +{{ model.name }})'
    from landed
    where (table_name, day, batch_id) not in (select table_name, day, batch_id from offered)
)

select
    table_name,
    day::text as day,
    batch_id,
    held_batch_id,
    revision,
    held_batch_id is not distinct from batch_id as is_again,
    exists (select 1 from held where held.day < (select min(day) from pending)) as has_earlier,
    exists (
        select 1 from held
        where held.day >= (select min(day) from pending)
            and (held.table_name, held.day) not in (select table_name, day from pending)
    ) as has_later,
    null as refusal
from pending
union all
select null, null, null, null, null, null, null, null, refusal from refused
order by day, table_name
{%- endmacro %}
