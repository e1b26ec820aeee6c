{% macro required_tables(count=false) -%}
    {#- The landed tables without which a day is not applied, as a list of SQL literals. -#}
    {%- set names = [] -%}
    {%- for source in (graph.sources.values() if execute else []) if source.meta.required -%}
        {%- do names.append("'" ~ source.name ~ "'") -%}
    {%- endfor -%}
    {{ return((names | length) if count else '(' ~ ((names | sort | join(', ')) or "''") ~ ')') }}
{%- endmacro %}


{% macro pending_batches(model, tables, rebuild) -%}
    {#- The batches that `model` has yet to apply, with the batch each takes the place of.
        A rebuild works on all that is landed. -#}
    select
        batches.table_name,
        batches.day,
        batches.batch_id,
        batches.rows_landed,
        applied.batch_id as applied_batch_id
    from {{ ref('int_batches') }} as batches
    left join {{ source('control', 'applied_batches') }} as applied
        on applied.model = '{{ model }}'
        and batches.table_name = applied.table_name
        and batches.day = applied.day
    where
        batches.table_name in ('{{ tables | join("', '") }}')
        {%- if rebuild %}
        and (batches.is_whole_day or applied.batch_id is not null)
        {%- else %}
        and batches.is_whole_day
        and batches.in_scope
        and batches.batch_id is distinct from applied.batch_id
        {%- endif %}
{%- endmacro %}


{% macro work_plan(model, tables, layer='silver', recheck=false) -%}
    {#- What this build has to do for `model`:
          pending   ids of the batches to apply
          days      their days
          replaced  ids of applied batches that other batches take the place of
          history   ids of the batches that stay applied, and `history_days`
          gone      those whose rows bronze no longer holds: expired, or landed again in part
          rebuild   whether all that is landed is applied anew: a full refresh, or no table yet
          recheck   whether more has changed than batches
          in_order  whether every pending day is later than every applied one, so that what
                    silver holds is all that the new records have to beat -#}
    {#- dbt learns of what a model reads while it parses, before anything runs -#}
    {%- do ref('int_batches') -%}
    {%- set rebuild = flags.FULL_REFRESH or relation_if_built(model, layer) is none -%}
    {%- set plan = {'rebuild': rebuild, 'pending': [], 'days': [], 'replaced': [], 'history': [], 'history_days': [], 'gone': [], 'in_order': true, 'recheck': recheck} -%}
    {%- if execute and flags.WHICH in ('build', 'run') -%}
        {%- set rows = run_query(
            "with pending as (" ~ pending_batches(model, tables, rebuild) ~ "),"
            ~ " applied as (select * from " ~ source('control', 'applied_batches') ~ " where model = '" ~ model ~ "'"
            ~ " and table_name in ('" ~ tables | join("', '") ~ "'))"
            ~ " select 'pending' as part, batch_id::text, day::text from pending"
            ~ " union all select 'replaced', applied_batch_id::text, day::text from pending where applied_batch_id <> batch_id"
            ~ " union all select 'history', batch_id::text, day::text from applied"
            ~ " where not exists (select 1 from pending where pending.table_name = applied.table_name and pending.day = applied.day)"
            ~ " union all select 'gone', batch_id::text, day::text from applied"
            ~ " where batch_id not in (select batch_id from " ~ ref('int_batches') ~ ")"
            ~ " and not exists (select 1 from pending where pending.table_name = applied.table_name and pending.day = applied.day)"
        ) -%}
        {%- for row in rows -%}
            {%- do plan[row[0]].append(row[1]) -%}
            {%- if row[0] == 'pending' -%}{%- do plan.days.append(row[2]) -%}{%- endif -%}
            {%- if row[0] == 'history' -%}{%- do plan.history_days.append(row[2]) -%}{%- endif -%}
        {%- endfor -%}
        {%- set late = plan.history_days and plan.days and (plan.days | min) <= (plan.history_days | max) -%}
        {%- do plan.update({'in_order': not (rebuild or plan.replaced or late or recheck)}) -%}
    {%- endif -%}
    {{ return(plan) }}
{%- endmacro %}


{% macro in_batches(ids, days) -%}
    {#- Both conditions as literals: the day prunes partitions while the query is planned. -#}
    _day = any('{ {{- days | unique | join(', ') -}} }'::date []) and _batch_id = any('{ {{- ids | join(', ') -}} }'::bigint [])
{%- endmacro %}
