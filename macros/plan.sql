{#- What a build has to do is found by comparing batches: what has landed with what
    int_<entity>_records took in, and that with what silver applied. Days and batches stand in
    the SQL as literals, so that `dbt compile` shows what a build will run and Postgres prunes
    partitions while it plans. -#}

{% macro plan() -%}
    {#- The work of this model:
          pending      rows (table_name, day, batch_id, revision, held_batch_id): batches to apply,
                       and the batch that each takes the place of
          gone         ids of the batches whose rows here are worked out anew
          again        those pending batches that the model holds: what it knows of them changed
          since        the first pending day
          has_earlier  whether days before that are applied
          has_later    whether days from that on are applied, beside the pending ones
          whole        whether all is worked out anew: a full refresh, or no table yet -#}
    {%- set meta = model.config.meta or {} -%}
    {%- set whole = not is_incremental() or flags.FULL_REFRESH -%}
    {%- set work = {'pending': [], 'gone': [], 'again': [], 'since': none, 'has_earlier': false, 'has_later': false, 'whole': whole} -%}
    {%- if execute and meta.tables and not flags.EMPTY and model.resource_type == 'model' -%}
        {%- if meta.records -%}
            {%- do refuse_if_behind(meta) -%}
            {%- set offered = recorded_batches(meta) -%}
        {%- else -%}
            {%- set offered = landed_batches(model.name, meta.tables, whole) -%}
        {%- endif -%}
        {%- set again = context[meta.again]() if meta.again and not whole -%}
        {%- for row in run_query(pending_batches(model.name, meta.tables, offered, whole, again)).rows -%}
            {%- do work.pending.append(row) -%}
            {%- if row.held_batch_id is not none -%}{%- do work.gone.append(row.held_batch_id) -%}{%- endif -%}
            {%- if row.held_batch_id == row.batch_id -%}{%- do work.again.append(row) -%}{%- endif -%}
            {%- do work.update({'since': work.since or row.day, 'has_earlier': row.has_earlier, 'has_later': row.has_later}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(work) }}
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
    {%- set required = required_tables() %}
    select distinct on (batches.table_name, batches.day) batches.table_name, batches.day, batches.batch_id, null::int as revision
    from {{ source('ledger', 'load_batches') }} as batches
    where batches.table_name in ('{{ tables | join("', '") }}')
        and batches.status in ('succeeded', 'skipped')
        and batches.rows_landed is not null
        and (
            {%- if whole %}
            exists (
                select 1 from {{ source('control', 'applied_batches') }} as applied
                where applied.model = '{{ model_name }}' and applied.table_name = batches.table_name and applied.day = batches.day
            )
            or
            {%- endif %}
            batches.day = coalesce({{ app_day() }}, batches.day)
            and {{ required | length }} = (
                select count(*) from (
                    select distinct on (attempts.table_name) attempts.table_name, attempts.status
                    from {{ source('ledger', 'load_batches') }} as attempts
                    where attempts.day = batches.day and attempts.table_name in ('{{ required | join("', '") }}')
                    order by attempts.table_name asc, attempts.batch_id desc
                ) as newest
                where newest.status in ('succeeded', 'unchanged')
            )
        )
    order by batches.table_name asc, batches.day asc, batches.batch_id desc
{%- endmacro %}


{% macro recorded_batches(meta) -%}
    {#- The batches that the model's records hold. -#}
    select table_name, day, batch_id, revision from {{ source('control', 'applied_batches') }}
    where model = '{{ meta.records }}' and table_name in ('{{ meta.tables | join("', '") }}')
{%- endmacro %}


{% macro required_tables() -%}
    {#- The landed tables without which a day is not applied. -#}
    {%- set names = [] -%}
    {%- for source in (graph.sources.values() if execute else []) if source.meta.required -%}
        {%- do names.append(source.name) -%}
    {%- endfor -%}
    {{ return(names | sort) }}
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


{% macro is_pending(table, work) -%}
    {#- Whether a landed row of `table` belongs to a pending batch. -#}
    {%- set rows = work.pending | reject('in', work.again) | selectattr('table_name', 'equalto', table) | list -%}
    _day = any('{ {{- rows | map(attribute='day') | join(', ') -}} }'::date []) and _batch_id = any('{ {{- rows | map(attribute='batch_id') | join(', ') -}} }'::bigint [])
{%- endmacro %}


{% macro pending_days(work) -%}
    '{ {{- work.pending | map(attribute='day') | unique | join(', ') -}} }'::date []
{%- endmacro %}


{% macro in_pending_days(work) -%}
    {#- Whether a held record's place is taken by a pending batch of its table and day. -#}
    {% if work.whole %}true{% else %}{{ of_batches(work.pending) }}{% endif %}
{%- endmacro %}


{% macro of_batches(rows) -%}
    {#- Whether a held record is of one of these tables and days. -#}
    {%- if not rows -%}false{%- else -%}
    (
        held._day = any('{ {{- rows | map(attribute='day') | unique | join(', ') -}} }'::date [])
        and (held._source_table, held._day) in (
            {%- for row in rows %}('{{ row.table_name }}', '{{ row.day }}'::date){% if not loop.last %}, {% endif %}{% endfor -%}
        )
    )
    {%- endif -%}
{%- endmacro %}


{% macro mark_changed(name, mark) -%}
    {#- Whether something that no batch brings has changed since this model remembered its mark. -#}
    (
        select not exists (
            select 1 from {{ source('control', 'applied_batches') }} as remembered
            where remembered.model = '{{ model.name }}' and remembered.table_name = '{{ name }}' and remembered.batch_id = {{ mark }}
        )
    )
{%- endmacro %}


{% macro remember_mark(name, mark) -%}
    {%- if is_building() -%}
    insert into {{ source('control', 'applied_batches') }} as held (model, table_name, day, batch_id, flow_run_id)
    values ('{{ model.name }}', '{{ name }}', date '1970-01-01', {{ mark }}, {{ run_id() }})
    on conflict (model, table_name, day) do update set
        batch_id = excluded.batch_id,
        flow_run_id = excluded.flow_run_id,
        applied_at = clock_timestamp()
    where held.batch_id <> excluded.batch_id
    {%- endif -%}
{%- endmacro %}


{% macro changed_keys(records, key, work) -%}
    {#- The keys that the model works out anew: of the records that pending batches brought, and of
        the rows here that stand on a batch which is gone. -#}
    select distinct {{ key | join(', ') }} from {{ records }}
    where {{ key | join(' is not null and ') }} is not null
    {%- if not work.whole %}
        and _day = any({{ pending_days(work) }})
        and _batch_id = any('{ {{- work.pending | map(attribute='batch_id') | join(', ') -}} }'::bigint [])
    {%- if work.gone %}
    union
    select {{ key | join(', ') }} from {{ this }}
    where _batch_id = any('{ {{- work.gone | join(', ') -}} }'::bigint [])
    {%- endif %}
    {%- endif %}
{%- endmacro %}


{% macro newest_day(records, table, until=none) -%}
    {#- The newest day on which `table` has landed, of those that `records` took in, `until` a day. -#}
    (
        select max(applied.day)
        from {{ source('control', 'applied_batches') }} as applied
        inner join {{ source('ledger', 'load_batches') }} as landed on applied.batch_id = landed.batch_id
        where applied.model = '{{ records }}' and applied.table_name = '{{ table }}' and landed.status = 'succeeded'
            {%- if until %} and applied.day <= {{ until }}{% endif %}
    )
{%- endmacro %}
