{% macro get_incremental_by_batch_sql(arg_dict) -%}
    {#- Records by batch: what a pending batch brings takes the place of all that its table and day
        said before, and what held records of other days come to is written anew with it. -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set meta = model.config.meta or {} -%}
    {%- if not meta.tables -%}
        {{ exceptions.raise_compiler_error("the strategy by_batch needs config(meta={'tables': [the landed tables that " ~ model.name ~ " takes in]})") }}
    {%- endif -%}
    {%- set work = plan() -%}
    {%- do work.update({'is_written': true}) -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='quoted') | join(', ') -%}
    {%- set place = ['_source_table', '_day', '_source_file', '_source_row'] + (meta.place or []) -%}

-- of two builds by hand the second takes the place of what the first brought
lock table {{ this }} in share row exclusive mode;

with judged {% if work.has_later %}as materialized{% else %}as{% endif %} (
    select * from {{ arg_dict.temp_relation }}
),

replaced as (
    delete from {{ this }} as held
    where {{ in_pending_days(work) }}
)
{%- if work.has_later %},

judged_anew as (
    delete from {{ this }} as held
    using judged
    where {{ columns_of('held', place) }} = {{ columns_of('judged', place) }}
        and held._day >= '{{ work.since }}'
        and not {{ in_pending_days(work) }}
)
{%- endif %}

insert into {{ this }} ({{ columns }})
select {{ columns }} from judged;

{{ record_applied(work) }}
{%- endmacro %}


{% macro after_records() -%}
    {#- dbt makes the table of a first build by itself, without the strategy: its batches are noted
        here, in the same transaction. What is planned next must know how much there is. -#}
    {%- if is_building() -%}
    {%- set work = plan() -%}
    {%- if not work.is_written %}
    {{ record_applied(work) }};
    create index {{ this.identifier }}_quarantined on {{ this }} (_day) where _outcome = 'quarantined';
    {%- endif %}
    {{ look_again(work) }}
    {%- set counted = (model.config.meta or {}).unit is none %}
    {%- if counted and work.pending %}
    do $$
    begin
        if exists (
            select 1
            from {{ source('ledger', 'load_batches') }} as batches
            where batches.batch_id = any('{ {{- work.pending | map(attribute='batch_id') | join(', ') -}} }'::bigint [])
                and batches.rows_landed <> (
                    select count(*) from {{ this }} as records
                    where records._day = batches.day and records._batch_id = batches.batch_id
                )
        ) then
            raise exception 'the landed rows of {{ model.name }} changed while this build ran, or have expired: build again, or land their day again';
        end if;
    end
    $$
    {%- endif %}
    {%- endif %}
{%- endmacro %}


{% macro record_applied(work) -%}
    {#- A batch is applied if and only if the rows that it brought are there: one transaction. -#}
    {%- if work.whole %}
delete from {{ source('control', 'applied_batches') }} where model = '{{ model.name }}';
    {%- endif %}
    {%- if work.pending %}
insert into {{ source('control', 'applied_batches') }} (model, table_name, day, batch_id, revision, flow_run_id)
values
    {%- for row in work.pending %}
    ('{{ model.name }}', '{{ row.table_name }}', '{{ row.day }}', {{ row.batch_id }}, {{ row.revision }}, {{ run_id() }}){% if not loop.last %},{% endif %}
    {%- endfor %}
on conflict (model, table_name, day) do update set
    batch_id = excluded.batch_id,
    revision = excluded.revision,
    flow_run_id = excluded.flow_run_id,
    applied_at = clock_timestamp()
    {%- else %}
select 1 where false
    {%- endif %}
{%- endmacro %}


{% macro look_again(work) -%}
    {#- What is planned next must know how much there is now: a table that was looked at while it was
        empty is read once a row. A small sample does. -#}
    {%- if work.pending or not (model.config.meta or {}).tables %}
set local default_statistics_target = 10;
analyze {{ this }};
    {%- endif %}
{%- endmacro %}
