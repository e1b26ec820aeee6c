{% macro get_incremental_upsert_sql(arg_dict) -%}
    {#- Last write wins, with its accounting in the same statement. The model selects one record
        a key; `config.meta` says from which landed tables and pending records (`tables`,
        `pending`), in which `order`, and which columns are `presence`: not values of a record. -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set incoming = arg_dict.temp_relation -%}
    {%- set meta = config.get('meta') -%}
    {%- set key = [arg_dict.unique_key] if arg_dict.unique_key is string else arg_dict.unique_key -%}
    {%- set plan = work_plan(model.name, meta.tables, meta.layer or 'silver', meta.recheck and context[meta.recheck]()) -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='name') | list -%}
    {%- set values = [] -%}
    {%- set kept = key + (meta.presence or []) -%}
    {%- for column in columns if column not in kept and not column.startswith('_') -%}
        {%- do values.append(column) -%}
    {%- endfor -%}

{{ refuse_unless_whole(meta, plan) }}

with decided as materialized (

    select
        incoming.*,
        held.{{ key[0] }} is null as _is_new,
        ({% for column in values %}held.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %})
        is distinct from ({% for column in values %}incoming.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %}) as _differs,
        {% if plan.in_order -%}
        {{ position(meta.order, 'incoming') }} > {{ position(meta.order, 'held') }} as _beats,
        {% if meta.always_moves %}true{% elif '_source_rank' in columns %}incoming._source_rank <> held._source_rank{% else %}false{% endif %} as _moves
        {%- else -%}
        -- every record that can win took part: what silver holds no longer counts
        true as _beats,
        {{ position(meta.order, 'incoming') }} <> {{ position(meta.order, 'held') }}
        or incoming._batch_id <> held._batch_id as _moves
        {%- endif %}
    from {{ incoming }} as incoming
    left join {{ this }} as held on {% for column in key %}incoming.{{ column }} = held.{{ column }}{% if not loop.last %} and {% endif %}{% endfor %}

),

written as (

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from decided
    where _is_new or (_beats and (_differs or _moves))
    on conflict ({{ key | join(', ') }}) do update set
        {%- for column in columns if column not in kept %}
        {{ column }} = excluded.{{ column }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    {%- if plan.in_order %}
    where {{ position(meta.order, 'excluded') }} > {{ position(meta.order, 'held') }}
    {%- endif %}

),

deleted as (

    delete from {{ this }} as held
    -- said outright, so that Postgres need not look at every row held
    where {% if plan.rebuild %}true{% elif not (plan.replaced or plan.recheck) %}false{% else %}
            (
                held._batch_id = any('{ {{- plan.replaced | join(', ') -}} }'::bigint [])
                {%- if plan.recheck %}
                or ({% for column in key %}held.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %})
                in (select {{ key | join(', ') }} from {{ ref(meta.pending) }} where not _is_pending)
                {%- endif %}
            ){% endif %}
        and not exists (
            select 1 from {{ incoming }} as incoming
            where {% for column in key %}incoming.{{ column }} = held.{{ column }}{% if not loop.last %} and {% endif %}{% endfor %}
        )
    returning held._day

),

{{ account(meta, plan) }}
{%- endmacro %}


{% macro account_first_build() -%}
    {#- dbt makes the table of a first build by itself, without the strategy: this hook accounts
        for it in the same transaction. -#}
    {%- set meta = config.get('meta') -%}
    {%- set plan = work_plan(model.name, meta.tables, meta.layer or 'silver', meta.recheck and context[meta.recheck]()) -%}
    {%- if execute and not is_incremental() %}
{{ refuse_unless_whole(meta, plan) }}

with decided as (

    select
        _batch_id,
        true as _is_new,
        true as _differs,
        true as _beats
    from {{ this }}

),

deleted as (select null::date as _day where false),

{{ account(meta, plan) }}
    {%- endif %}
{%- endmacro %}
