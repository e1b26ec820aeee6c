{% macro account_first_build() -%}
    {#- dbt makes the table of a first build by itself, without the strategy: this hook accounts
        for it in the same transaction. -#}
    {%- set meta = config.get('meta') -%}
    {%- set plan = work_plan(model.name, meta.tables, meta.layer or 'silver', meta.recheck and context[meta.recheck]()) -%}
    {%- if execute and not is_incremental() %}
-- what is built on it next must not be planned for an empty table
analyze {{ this }};

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


{% macro columns_of(record, names, bare=false) -%}
    {#- Columns of one record as a row to compare, or `bare`, as a list. -#}
    {% if not bare %}({% endif %}{% for name in names %}{{ record }}.{{ name }}{% if not loop.last %}, {% endif %}{% endfor %}{% if not bare %}){% endif %}
{%- endmacro %}


{% macro excluded_columns(columns, kept) -%}
    {#- What `on conflict do update` sets: all columns but those that are kept. -#}
        {%- for column in columns if column not in kept %}
        {{ column }} = excluded.{{ column }}{% if not loop.last %},{% endif %}
        {%- endfor %}
{%- endmacro %}
