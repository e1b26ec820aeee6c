{% macro get_incremental_upsert_sql(arg_dict) -%}
    {#- Last write wins, with its accounting in the same statement. The model selects one record
        a key; `config.meta` says from which landed tables and pending records (`tables`,
        `pending`), in which `order`, which columns are `presence`: not values of a record, and
        whether files hold changes only (`delta`). -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set incoming = arg_dict.temp_relation -%}
    {%- set meta = config.get('meta') -%}
    {%- set key = [arg_dict.unique_key] if arg_dict.unique_key is string else arg_dict.unique_key -%}
    {%- set plan = work_plan(model.name, meta.tables, meta.layer or 'silver', meta.recheck and context[meta.recheck]()) -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='name') | list -%}
    {%- set kept = key + (meta.presence or []) -%}
    {%- set values = [] -%}
    {%- for column in columns if column not in kept and not column.startswith('_') -%}
        {%- do values.append(column) -%}
    {%- endfor -%}

{{ refuse_unless_whole(meta, plan) }}

{% if meta.month and is_partitioned(this) -%}
{{ upsert_by_month(this, incoming, meta, plan, key, columns, kept, values) }}
{%- else -%}
{% if plan.in_order and meta.delta -%}
-- Most records are new or newer: Postgres finds out while it writes, and only the others are
-- looked at again.
with written as (

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ incoming }}
    on conflict ({{ key | join(', ') }}) do update set
        {{ excluded_columns(columns, kept) }}
    where {{ position(meta.order, 'excluded') }} > {{ position(meta.order, 'held') }}
        and {{ columns_of('held', values) }} is distinct from {{ columns_of('excluded', values) }}
    returning {{ columns_of('held', key + ['_batch_id'], bare=true) }}, held.xmax = 0 as _is_new

),

decided as (

    select
        _batch_id,
        _is_new,
        true as _differs,
        true as _beats
    from written
    union all
    select
        incoming._batch_id,
        false as _is_new,
        false as _differs,
        {{ position(meta.order, 'incoming') }} > {{ position(meta.order, 'held') }} as _beats
    from {{ incoming }} as incoming
    inner join {{ this }} as held on {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }}
    where not exists (select 1 from written where {{ columns_of('written', key) }} = {{ columns_of('incoming', key) }})

),
{%- else -%}
with decided as materialized (

    select
        incoming.*,
        held.{{ key[0] }} is null as _is_new,
        {{ columns_of('held', values) }} is distinct from {{ columns_of('incoming', values) }} as _differs,
        {% if plan.in_order -%}
        {{ position(meta.order, 'incoming') }} > {{ position(meta.order, 'held') }} as _beats,
        {% if meta.always_moves %}true{% elif '_source_rank' in columns %}incoming._source_rank <> held._source_rank{% else %}false{% endif %} as _moves
        {%- else -%}
        {{ takes_part(plan, meta.order) }} as _beats,
        {{ position(meta.order, 'incoming') }} <> {{ position(meta.order, 'held') }}
        or incoming._batch_id <> held._batch_id as _moves
        {%- endif %}
    from {{ incoming }} as incoming
    left join {{ this }} as held on {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }}

),

written as (

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from decided
    where _is_new or (_beats and (_differs or _moves))
    on conflict ({{ key | join(', ') }}) do update set
        {{ excluded_columns(columns, kept) }}
    {%- if plan.in_order %}
    where {{ position(meta.order, 'excluded') }} > {{ position(meta.order, 'held') }}
    {%- endif %}

),
{%- endif %}

deleted as (

    delete from {{ this }} as held
    where {{ is_gone(plan, key, ref(meta.pending), incoming) }}
    returning held._day

),

{{ account(meta, plan) }}
{%- endif -%}
{%- endmacro %}


{% macro takes_part(plan, order) -%}
    {#- Out of order every record that can win took part, and what silver holds no longer counts,
        but for a record that bronze has let go: it stands until a newer one comes. -#}
    {% if not plan.gone %}true{% else -%}
    coalesce(held._batch_id <> all('{ {{- plan.gone | join(', ') -}} }'::bigint []), true)
        or {{ position(order, 'incoming') }} > {{ position(order, 'held') }}
    {%- endif -%}
{%- endmacro %}


{% macro is_gone(plan, key, pending, incoming) -%}
    {#- What no record stands for any more; said outright where nothing can be, so that Postgres
        need not look at every row held. -#}
    {% if plan.rebuild %}true{% elif not (plan.replaced or plan.recheck) %}false{% else %}
            (
                held._batch_id = any('{ {{- plan.replaced | join(', ') -}} }'::bigint [])
                {%- if plan.recheck %}
                or {{ columns_of('held', key) }} in (select {{ key | join(', ') }} from {{ pending }} where not _is_pending)
                {%- if plan.gone %} and held._batch_id <> all('{ {{- plan.gone | join(', ') -}} }'::bigint []){% endif %}
                {%- endif %}
            ){% endif %}
        and not exists (
            select 1 from {{ incoming }} as incoming where {{ columns_of('incoming', key) }} = {{ columns_of('held', key) }}
        )
{%- endmacro %}
