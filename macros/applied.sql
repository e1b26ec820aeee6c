{% macro note_what_was_written() -%}
    {#- In the transaction of a model's rows: a batch is applied if and only if what it brought is
        there. dbt makes the table of a first build without the strategy: it is accounted for here. -#}
    {%- set strategy = config.get('incremental_strategy') -%}
    {%- if is_building() and config.get('materialized') == 'incremental' and strategy in ('by_batch', 'upsert') -%}
    {%- set meta, work = model.config.meta or {}, plan() -%}
    {%- if strategy == 'upsert' and meta.pipeline and work.is_first %}
with judged as (select *, true as _is_new, true as _differs, false as _is_gone from {{ this }}),

deleted as (select * from {{ this }} where false),

{{ account('_batch_id' in adapter.get_columns_in_relation(this) | map(attribute='name')) }};
    {%- endif %}
    {%- if work.takes_batches and work.whole %}
delete from {{ source('control', 'applied_batches') }} where model = '{{ model.name }}';
    {%- endif %}
    {%- set applied = work.pending + ([{'table_name': 'mark', 'day': '1970-01-01', 'batch_id': work.mark, 'revision': 0}] if work.mark else []) %}
    {%- if applied %}
insert into {{ source('control', 'applied_batches') }} (model, table_name, day, batch_id, revision, flow_run_id)
values
    {%- for row in applied %}
    ('{{ model.name }}', '{{ row.table_name }}', '{{ row.day }}', {{ row.batch_id }}, {{ row.revision }}, {{ run_id() }}){% if not loop.last %},{% endif %}
    {%- endfor %}
on conflict (model, table_name, day) do update set
    batch_id = excluded.batch_id, revision = excluded.revision, flow_run_id = excluded.flow_run_id, applied_at = clock_timestamp();
    {%- endif %}
    {%- if work.pending or not work.takes_batches %}
-- a table that was looked at while it was empty is read once a row; a small sample does, and where
-- autovacuum is at work it looks itself
set local default_statistics_target = 10;
analyze (skip_locked) {{ this }};
    {%- endif %}
    {#- a model of `records`, or of other units, has no row for each landed one -#}
    {%- if strategy == 'by_batch' and work.pending and not (meta.unit or meta.records) %}
do $$
begin
    if exists (
        select 1 from {{ source('ledger', 'load_batches') }} as batches
        where batches.batch_id = any({{ array_of(work.pending | map(attribute='batch_id'), 'bigint') }})
            and batches.rows_landed
            <> (select count(*) from {{ this }} as records where records._day = batches.day and records._batch_id = batches.batch_id)
    ) then
        raise exception 'the landed rows of {{ model.name }} changed while this build ran, or have expired: build again, or land their day again';
    end if;
end
$$
    {%- endif %}
    {%- endif %}
{%- endmacro %}
