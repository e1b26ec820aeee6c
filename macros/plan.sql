{#- What a build has to do is found by comparing batches: what has landed with what
    int_<entity>_records took in, and that with what silver applied. Days and batches stand in
    the SQL as literals, so that `dbt compile` shows what a build will run and Postgres prunes
    partitions while it plans. -#}

{% macro plan(again='', mark='') -%}
    {#- The work of this model, which the model itself asks for first. `again`: SQL on `held`, the
        applied batches, for those to work out anew as something that no batch brings has changed;
        `mark`: SQL of a number that stands for it, see `mark_changed`.
        The work is
          pending      rows (table_name, day, batch_id, revision, held_batch_id): batches to apply,
                       and the batch that each takes the place of
          gone         ids of the batches whose rows here are worked out anew
          again        those pending batches that the model holds: what it knows of them changed
          since        the first pending day
          has_earlier  whether days before that are applied
          has_later    whether days from that on are applied, beside the pending ones
          whole        whether all is worked out anew: a full refresh, or no table yet
          covered      set by a model whose select speaks for more than its rows: SQL of the held ones
                       for which it does, deleted where it does not bring them
        Made once a build and model: what its hooks note as applied is what its SQL selects. -#}
    {#- a unit test has no graph -#}
    {%- set node = (graph.nodes or {}).get(model.unique_id, {}) if execute else {} -%}
    {%- if node.planned_by != invocation_id -%}
        {%- set meta = model.config.meta or {} -%}
        {%- set whole = not is_incremental() or flags.FULL_REFRESH -%}
        {%- set work = {'pending': [], 'gone': [], 'again': [], 'since': none, 'has_earlier': false, 'has_later': false, 'whole': whole, 'mark': mark} -%}
        {%- if execute and meta.tables and not flags.EMPTY and model.resource_type == 'model' -%}
            {%- if meta.records -%}
                {%- do refuse_if_behind(meta) -%}
                {%- set offered -%}
                    select table_name, day, batch_id, revision from {{ source('control', 'applied_batches') }}
                    where model = '{{ meta.records }}' and table_name in ('{{ meta.tables | join("', '") }}')
                {%- endset -%}
            {%- else -%}
                {%- set offered = landed_batches(model.name, meta.tables, whole) -%}
            {%- endif -%}
            {%- for row in run_query(pending_batches(model.name, meta.tables, offered, whole, '' if whole else again)).rows -%}
                {%- do work.pending.append(row) -%}
                {%- if row.held_batch_id is not none -%}{%- do work.gone.append(row.held_batch_id) -%}{%- endif -%}
                {%- if row.held_batch_id == row.batch_id -%}{%- do work.again.append(row) -%}{%- endif -%}
                {%- do work.update({'since': work.since or row.day, 'has_earlier': row.has_earlier, 'has_later': row.has_later}) -%}
            {%- endfor -%}
        {%- endif -%}
        {%- do node.update({'plan': work, 'planned_by': invocation_id}) -%}
    {%- endif -%}
    {{ return(node.plan) }}
{%- endmacro %}


{% macro pending_batches(model_name, tables, offered, whole=false, again='') -%}
    {#- Of the `offered` batches those that `model_name` does not hold, oldest first. `again`: SQL on
        `held` for the held ones to work out anew. -#}
with landed as (
    {{ offered }}
),

held as (
    select table_name, day, batch_id, revision from {{ source('control', 'applied_batches') }}
    where model = '{{ model_name }}' and table_name in ('{{ tables | join("', '") }}') and {{ not whole }}
),

offered as (
    select * from landed
    {%- if again %}
    union all
    select held.table_name, held.day, held.batch_id, held.revision + 1 from held
    where {{ again }}
        and not exists (
            select 1 from landed
            where landed.table_name = held.table_name and landed.day = held.day and landed.batch_id <> held.batch_id
        )
    {%- endif %}
),

pending as (
    select offered.*, held.batch_id as held_batch_id
    from offered
    left join held on offered.table_name = held.table_name and offered.day = held.day
    where (offered.batch_id, coalesce(offered.revision, held.revision)) is distinct from (held.batch_id, held.revision)
)

select
    table_name,
    day::text as day,
    batch_id,
    coalesce(revision, 0) as revision,
    held_batch_id,
    exists (select 1 from held where held.day < (select min(day) from pending)) as has_earlier,
    exists (
        select 1 from held
        where held.day >= (select min(day) from pending)
            and not exists (select 1 from pending where pending.table_name = held.table_name and pending.day = held.day)
    ) as has_later
from pending
order by pending.day, table_name
{%- endmacro %}


{% macro landed_batches(model_name, tables, whole=false) -%}
    {#- The newest batch of each table and day, of days whose required tables have all landed: of
        the day that the run asks for, or of all. A model that is worked out whole takes in again
        all that it held. -#}
    {%- set required = (graph.sources or {}).values() | selectattr('meta.required') | map(attribute='name') | sort %}
    with whole_days as (
        select day
        from (
            select distinct on (table_name, day) day, status from {{ source('ledger', 'load_batches') }}
            where table_name in ('{{ required | join("', '") }}')
            order by table_name, day, batch_id desc
        ) as newest
        where status in ('succeeded', 'unchanged') and day = coalesce({{ app_day() }}, day)
        group by day
        having count(*) = {{ required | length }}
    )

    select distinct on (batches.table_name, batches.day) batches.table_name, batches.day, batches.batch_id, null::int as revision
    from {{ source('ledger', 'load_batches') }} as batches
    where batches.table_name in ('{{ tables | join("', '") }}')
        and batches.status in ('succeeded', 'skipped')
        and batches.rows_landed is not null
        and (
            batches.day in (select day from whole_days)
            {%- if whole %}
            or (batches.table_name, batches.day) in (
                select table_name, day from {{ source('control', 'applied_batches') }} where model = '{{ model_name }}'
            )
            {%- endif %}
        )
    order by batches.table_name asc, batches.day asc, batches.batch_id desc
{%- endmacro %}


{% macro refuse_if_behind(meta) -%}
    {#- Built without its records, a model would find nothing to do, and say that all is well. -#}
    {%- if is_building() -%}
        {%- set behind = run_query(pending_batches(meta.records, meta.tables, landed_batches(meta.records, meta.tables))).rows -%}
        {%- if behind -%}
            {{ exceptions.raise_compiler_error(
                meta.records ~ " has yet to take in " ~ behind[0].table_name ~ " of " ~ behind[0].day
                ~ (", and " ~ (behind | length - 1) ~ " more" if behind | length > 1 else "")
                ~ ": build it too (dbt build --select +" ~ model.name ~ ")"
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
