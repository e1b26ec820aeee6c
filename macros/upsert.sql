{% macro get_incremental_upsert_sql(arg_dict) -%}
    {#- A new key is inserted, other values update, equal rows are left alone, so that readers, views
        and grants stay. Of config.meta:
          order      columns by which the last write wins, where the select brings changes alone;
                     without it the selected row of a key is what should be there
          presence   columns that are not values of a record: a change of them is no update
          whole      the select is the whole table: what it does not have is deleted
          records    the records the rows come from; tables, pipeline: what the metrics name -#}
    {%- if not arg_dict.unique_key -%}
        {{ exceptions.raise_compiler_error("the strategy upsert needs config(unique_key=…) in " ~ model.name) }}
    {%- endif -%}
    {%- set meta, work, key = model.config.meta or {}, plan(), quoted(arg_dict.unique_key) -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='quoted') | list -%}
    {%- set beside_key, has_batch = columns | reject('in', key) | list, '"_batch_id"' in columns -%}
    {%- set values, order, presence = [], quoted(meta.order or []), quoted(meta.presence or []) -%}
    {%- for column in beside_key if column not in presence and not column.startswith('"_') -%}{%- do values.append(column) -%}{%- endfor -%}
    {%- set same_key = columns_of('incoming', key) ~ ' = ' ~ columns_of('held', key) -%}
    {#- Between two equal records another may come to stand: then it counts on which of them a row stands. -#}
    {%- set several = work.has_later or work.gone or work.spans_days -%}
    {%- set winner_moves = has_batch and (several and not work.whole if meta.records else meta.whole) -%}
    {%- set covered = work.covered or ('true' if meta.whole or (meta.records and work.whole and not meta.order)) -%}
{{ hold_table() }}
-- Postgres would remember each look-up, and no key comes twice
set local enable_memoize = off;
with incoming as (
    select {% if meta.order %}distinct on ({{ key | join(', ') }}) {% endif %}* from {{ arg_dict.temp_relation }}
    {%- if meta.order %}
    order by {{ key | join(', ') }}, {{ order | join(' desc nulls last, ') }} desc nulls last
    {%- endif %}
),

judged as materialized (
    select
        incoming.*,
        held._place,
        held._place is null as _is_new,
        {{ columns_of('held', values) }} is distinct from {{ columns_of('incoming', values) }} as _differs,
        held._place is not null and incoming.{{ key[0] }} is null as _is_gone
    from incoming
    {%- if covered %}
    -- all that the select speaks for at once: what it does not bring is gone
    full join (select held.*, held.ctid as _place from {{ this }} as held where {{ covered }}) as held on {{ same_key }}
    {%- else %}
    -- one look-up a key: what a day costs does not grow with what is held
    left join lateral (select held.*, held.ctid as _place from {{ this }} as held where {{ same_key }} limit 1) as held on true
    {%- endif %}
    -- on conflict locks, and so writes, every row that it meets: equal ones must not get there
    where held._place is null
        or incoming.{{ key[0] }} is null
        or (
            {% if meta.order %}{{ last_write(meta.order, 'incoming') }} >= {{ last_write(meta.order, 'held') }} and {% endif -%}
            ({{ columns_of('held', values + presence) }} is distinct from {{ columns_of('incoming', values + presence) }}
            {%- if winner_moves %} or held._batch_id is distinct from incoming._batch_id{% endif %})
        )
),

deleted as (
    delete from {{ this }} as held
    {%- if covered %}
    using judged
    where judged._is_gone and held.ctid = judged._place
    {%- elif work.gone and has_batch %}
    where held._batch_id = any({{ array_of(work.gone, 'bigint') }}) and not exists (select 1 from incoming where {{ same_key }})
    {%- else %}
    where false
    {%- endif %}
    returning held.*
){% if meta.pipeline %},

written as ({% endif %}
    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from judged
    where not _is_gone
    on conflict ({{ key | join(', ') }}) do update set
        {%- for column in beside_key or key[:1] %}
        {{ column }} = excluded.{{ column }}{% if not loop.last %},{% endif %}
        {%- endfor %}
{%- if meta.pipeline %}
),

{{ account(has_batch) }}
{%- endif %}
{%- endmacro %}


{% macro quoted(names) -%}
    {#- A list in quotes of a name or several, which may have theirs already. -#}
    {%- set found = [] -%}
    {%- for name in ([names] if names is string else names) -%}{%- do found.append('"' ~ name | trim('"') ~ '"') -%}{%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{% macro columns_of(record, names) -%}
    row({% for name in quoted(names) %}{{ record }}.{{ name }}{% if not loop.last %}, {% endif %}{% endfor %})
{%- endmacro %}


{% macro last_write(order, record) -%}
    {#- Nulls are lowest. -#}
    row({% for column in quoted(order) %}{{ record }}.{{ column }} is not null, {{ record }}.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %})
{%- endmacro %}
