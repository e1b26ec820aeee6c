{% macro upsert_by_month(this, incoming, meta, plan, key, columns, kept, values) -%}
    {#- As the strategy `upsert`, for a table by month: each key is looked up where it is, and a
        record that comes with another month takes its row along. -#}
    {%- set keys = keys_of(this) -%}
    {%- set month = meta.month -%}
{{ make_months(this, month, ref(meta.pending)) }};

with decided as materialized (

    select
        incoming.*,
        placed.{{ month }} as _held_at,
        placed.{{ key[0] }} is null as _is_new,
        {{ columns_of('held', values) }} is distinct from {{ columns_of('incoming', values) }} as _differs,
        {% if plan.in_order -%}
        {{ position(meta.order, 'incoming') }} > {{ position(meta.order, 'held') }} as _beats,
        false as _moves
        {%- else -%}
        {{ takes_part(plan, meta.order) }} as _beats,
        {{ position(meta.order, 'incoming') }} <> {{ position(meta.order, 'held') }}
        or incoming._batch_id <> held._batch_id as _moves
        {%- endif %}
    from {{ incoming }} as incoming
    left join {{ keys }} as placed on incoming.{{ key[0] }} = placed.{{ key[0] }}
    -- one at a time, in the one month: joined whole, Postgres may read all of history
    left join
        lateral (
            select held.* from {{ this }} as held
            where held.{{ key[0] }} = placed.{{ key[0] }} and held.{{ month }} = placed.{{ month }}
            limit 1
        ) as held
        on true

),

winners as (

    select * from decided
    where _is_new or (_beats and (_differs or _moves))

),

movers as (

    select
        {{ key[0] }},
        _held_at
    from winners
    where _held_at <> {{ month }}

),

moved as (

    delete from {{ this }} as held
    -- lists, which prune months; then the pair
    where held.{{ month }} = any(array(select movers._held_at from movers))
        and held.{{ key[0] }} = any(array(select movers.{{ key[0] }} from movers))
        and exists (
            select 1 from movers where movers.{{ key[0] }} = held.{{ key[0] }} and movers._held_at = held.{{ month }}
        )

),

written as (

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from winners
    on conflict ({{ key[0] }}, {{ month }}) do update set
        {{ excluded_columns(columns, kept) }}

),

placed_again as (

    insert into {{ keys }} as placed ({{ key[0] }}, {{ month }})
    select
        {{ key[0] }},
        {{ month }}
    from winners
    where _held_at is distinct from {{ month }}
    on conflict ({{ key[0] }}) do update set {{ month }} = excluded.{{ month }}

),

deleted as (

    delete from {{ this }} as held
    where {{ is_gone(plan, key, ref(meta.pending), incoming) }}
    returning
        held._day,
        held.{{ key[0] }}

),

forgotten as (

    delete from {{ keys }} as placed
    using deleted
    where placed.{{ key[0] }} = deleted.{{ key[0] }}

),

{{ account(meta, plan) }}
{%- endmacro %}
