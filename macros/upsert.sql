{% macro get_incremental_upsert_sql(arg_dict) -%}
    {#- Rows are written by their key: a new key is inserted, other values update, equal rows are left
        alone, so that readers, views and grants stay. Of config.meta:
          order      columns by which the last write wins, where the select brings changes alone;
                     without it the selected row of a key is what should be there
          presence   columns that are not values of a record: a change of them is no update
          whole      the select is the whole table: what it does not have is deleted
          records    the records the rows come from; tables, pipeline: what the metrics name -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set meta = model.config.meta or {} -%}
    {%- set key = [arg_dict.unique_key] if arg_dict.unique_key is string and arg_dict.unique_key else arg_dict.unique_key -%}
    {%- if not key -%}
        {{ exceptions.raise_compiler_error("the strategy upsert needs config(unique_key=…) in " ~ model.name ~ ", and an index or a constraint that holds it unique") }}
    {%- endif -%}
    {%- set work = plan() -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='name') | list -%}
    {%- set presence = meta.presence or [] -%}
    {%- set values = [] -%}
    {%- for column in columns if column not in key + presence and not column.startswith('_') -%}{%- do values.append(column) -%}{%- endfor -%}
    {%- set stands_on_gone = 'held._batch_id = any(' ~ array_of(work.gone, 'bigint') ~ ')' if work.gone and '_batch_id' in columns else 'false' -%}
    {#- Between two equal records another may come to stand: then it counts on which of them a row stands. -#}
    {%- set winner_moves = meta.records and '_batch_id' in columns and not work.whole
        and (work.has_later or work.gone or work.pending | map(attribute='day') | unique | list | length > 1) -%}
    {%- set covered = work.covered or ('true' if meta.whole or (meta.records and work.whole and not meta.order) else stands_on_gone) -%}

with incoming as (

    {% if meta.order -%}
    select distinct on ({{ key | join(', ') }}) * from {{ arg_dict.temp_relation }}
    order by {{ key | join(', ') }}, {{ meta.order | join(' desc nulls last, ') }} desc nulls last
    {%- else -%}
    select * from {{ arg_dict.temp_relation }}
    {%- endif %}

),

judged as materialized (

    select
        incoming.*,
        held.{{ key[0] }} is null as _is_new,
        {{ columns_of('held', values) }} is distinct from {{ columns_of('incoming', values) }} as _differs
    from incoming
    {%- if meta.whole %}
    left join {{ this }} as held on {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }}
    {%- else %}
    -- one look-up a key: what a day costs does not grow with what is held
    left join lateral (
        select * from {{ this }} as held
        where {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }}
        limit 1
    ) as held on true
    {%- endif %}
    -- on conflict locks, and so writes, every row that it meets: equal ones must not get there
    where held.{{ key[0] }} is null
        or (
            {% if meta.order %}{{ last_write(meta.order, 'incoming') }} >= {{ last_write(meta.order, 'held') }} and {% endif -%}
            ({{ columns_of('held', values + presence) }} is distinct from {{ columns_of('incoming', values + presence) }}
            {%- if winner_moves %} or held._batch_id <> incoming._batch_id{% endif %})
        )

),

deleted as (

    delete from {{ this }} as held
    where {{ covered }}
        and not exists (select 1 from incoming where {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }})
    returning held.*

){% if meta.pipeline %},

written as ({% else %}

{% endif %}

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from judged
    on conflict ({{ key | join(', ') }}) do update set
        {%- for column in columns if column not in key %}
        {{ column }} = excluded.{{ column }}{% if not loop.last %},{% endif %}
        {%- else %}
        {{ key[0] }} = excluded.{{ key[0] }}
        {%- endfor %}
{%- if meta.pipeline %}

),

{{ account(columns) }}
{%- endif %}
{%- endmacro %}


{% macro columns_of(record, names) -%}
    {#- Columns of one record as a row to compare. -#}
    row({% for name in names %}{{ record }}.{{ name }}{% if not loop.last %}, {% endif %}{% endfor %})
{%- endmacro %}


{% macro last_write(order, record) -%}
    {#- What makes one record later than another, as a row to compare; nulls are lowest. -#}
    row({% for column in order %}{{ record }}.{{ column }} is not null, {{ record }}.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %})
{%- endmacro %}


{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {#- What an upsert selects it reads once: a view of it saves writing the rows once more. Records
        by batch are written twice, as Postgres lets parallel workers type for a new table alone. -#}
    {%- if temporary and config.get('incremental_strategy') == 'upsert' -%}
    create temporary view {{ relation }} as (
        {{ sql }}
    );
    {%- else -%}
    {%- if temporary and config.get('incremental_strategy') == 'by_batch' -%}
    -- of two builds by hand the second takes the place of what the first brought
    lock table {{ this }} in share row exclusive mode;
    {%- endif %}
    {%- do plan() -%}{#- before the table is there, which a first build over a clone's view does not show -#}
    {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- endif -%}
{%- endmacro %}
