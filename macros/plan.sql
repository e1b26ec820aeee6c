{#- What a build has to do is found by comparing batches: what has landed with what
    int_<entity>_records took in, and that with what silver applied. Days and batches stand in
    the SQL as literals, so that `dbt compile` shows what a build will run and Postgres prunes
    partitions while it plans. -#}

{% macro plan(again='', mark='') -%}
    {#- Made once a build and model: what its hooks note as applied is what its SQL selects. A model with
        `again` and `mark` asks for its plan, with them, first.
          pending        rows (table_name, day, batch_id, …): batches to apply, oldest first
          again          ids of those that the model holds, and works out anew
          gone           ids of the batches of which rows here are worked out anew
          takes_batches  whether there may be some: of records, or of models with config.meta.records
          is_first       whether there is no table yet
          whole          whether all is worked out anew: a full refresh, or a first build
          since          the first pending day, 'infinity' without one
          spans_days     whether these are of more than one day
          has_later      whether days from that on are applied, beside the pending ones
          days           SQL: the pending days, as an array
          is_pending     SQL: whether a landed row, or its record, is of a batch that is new here
          is_replaced    SQL: whether the record `held` makes way for a pending batch; of a model of
                         other records set by itself
          covered        set by a model whose select speaks for more than its rows: SQL of the held
                         ones for which it does, where all its rows stand too: deleted where it
                         does not bring them -#}
    {#- a unit test has no graph -#}
    {%- set node = (graph.nodes or {}).get(model.unique_id, {}) if execute else {} -%}
    {%- if node.planned_by != invocation_id -%}
        {%- set meta, is_first = model.config.meta or {}, not is_incremental() -%}
        {%- set whole = is_first or flags.FULL_REFRESH -%}
        {%- set takes_batches = meta.records or model.config.incremental_strategy == 'by_batch' -%}
        {%- set is_asked = execute and takes_batches and model.resource_type == 'model' -%}
        {%- set found = run_query(batches_to_apply(meta, whole, again)).rows if is_asked else [] -%}
        {%- for row in found if row.refusal and is_building() -%}
            {{ exceptions.raise_compiler_error(row.refusal) }}
        {%- endfor -%}
        {%- set pending = found | selectattr('batch_id') | list -%}
        {%- set new = pending | rejectattr('is_again') | list -%}
        {%- set first, days = pending[0] or {}, array_of(pending | map(attribute='day'), 'date') -%}
        {%- do node.update({'planned_by': invocation_id, 'plan': {
            'pending': pending,
            'again': pending | selectattr('is_again') | map(attribute='batch_id') | list,
            'gone': pending | map(attribute='held_batch_id') | reject('none') | list,
            'takes_batches': takes_batches,
            'is_first': is_first,
            'whole': whole,
            'mark': mark,
            'since': first.day or 'infinity',
            'spans_days': pending | map(attribute='day') | unique | list | length > 1,
            'has_later': first.has_later,
            'days': array_of(pending | map(attribute='day') | unique, 'date'),
            'is_pending': '_day = any(' ~ array_of(new | map(attribute='day') | unique, 'date') ~ ')'
                ~ ' and _batch_id = any(' ~ array_of(new | map(attribute='batch_id'), 'bigint') ~ ')',
            'is_replaced': 'true' if whole else '(held._day = any(' ~ days ~ ') and (held._source_table, held._day) in'
                ~ ' (select * from unnest(' ~ array_of(pending | map(attribute='table_name'), 'text') ~ ', ' ~ days ~ ')))',
        }}) -%}
    {%- endif -%}
    {{ return(node.plan) }}
{%- endmacro %}


{% macro batches_to_apply(meta, whole, again) -%}
    {#- The batches that the model does not hold, of those that its records took in, or else that
        have landed: the newest of each table and day, of days whose required tables have all
        landed, and of the day that the run asks for. A model that is worked out whole takes in again all
        that it held. -#}
{%- set required = graph.sources.values() | selectattr('meta.required') | map(attribute='name') | sort -%}
{%- set tables = array_of(meta.tables, 'text') -%}
with whole_days as (
    select day
    from (
        select distinct on (table_name, day) day, status from {{ source('ledger', 'load_batches') }}
        where table_name = any({{ array_of(required, 'text') }}) and day = coalesce({{ app_day() }}, day)
        order by table_name, day, batch_id desc
    ) as newest
    -- an overlay may have let a day do without: then what is not there is skipped, and not missing
    where status in ('succeeded', 'unchanged', 'skipped')
    group by day
    having count(*) = {{ required | length }}
),

applied as (
    select model, table_name, day, batch_id, revision from {{ source('control', 'applied_batches') }}
    where table_name = any({{ tables }}) and model in ('{{ model.name }}', '{{ meta.records }}')
),

landed as (
    select distinct on (table_name, day) table_name, day, batch_id, null::int as revision
    from {{ source('ledger', 'load_batches') }}
    where table_name = any({{ tables }}) and status in ('succeeded', 'skipped') and rows_landed is not null
        and (day in (select day from whole_days) or {{ whole and not meta.records }} and (table_name, day) in (select table_name, day from applied))
    order by table_name asc, day asc, batch_id desc
),

offered as (
    {{ "select * from applied where model = '" ~ meta.records ~ "'" if meta.records else 'select * from landed' }}
),

held as (
    select * from applied where model = '{{ model.name }}' and {{ not whole }}
),

pending as (
    select
        table_name,
        day,
        coalesce(offered.batch_id, held.batch_id) as batch_id,
        held.batch_id as held_batch_id,
        coalesce(offered.revision, held.revision + 1, 0) as revision
    from offered
    full join held using (table_name, day)
    where held.batch_id is null or held.batch_id <> offered.batch_id or held.revision <> offered.revision
        or {{ 'false' if whole or not again else again }}
)

select
    table_name, day::text as day, batch_id, held_batch_id, revision,
    held_batch_id is not distinct from batch_id as is_again,
    exists (
        select 1 from held
        where held.day >= (select min(day) from pending)
            and (held.table_name, held.day) not in (select table_name, day from pending)
    ) as has_later,
    null as refusal
from pending
union all
-- built without its records, a model would find nothing to do, and say that all is well
select
    null, null, null, null, null, null, null,
    '{{ meta.records }} has yet to take in ' || table_name || ' of ' || {{ day_name('day') }} || ': build it too (dbt build --select +{{ model.name }})'
from landed
where (table_name, day, batch_id) not in (select table_name, day, batch_id from offered)
order by day, table_name
{%- endmacro %}
