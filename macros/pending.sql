{% macro pending_records(model, key, order, records, layer='silver', recheck='') -%}
    {#- The records that compete in this build for the rows of `model`, typed once and ranked:
        _rank over all of a key's valid records, _day_rank over those of its day.
        Out of order, or when a batch takes another's place, the records of the days that stay
        applied compete again, for the keys that can change. `recheck` selects more keys to work
        out again, with their records that were not valid. -#}
    {%- set tables = records | map(attribute='table') | list -%}
    {%- set columns = landed_columns(tables[-1]) -%}
    {%- set plan = work_plan(model, tables, layer) -%}
    {%- set built = relation_if_built(model, layer) -%}
    {%- set keys = key | join(', ') -%}
    {%- set bring_history = (not plan.in_order or recheck) and plan.history and not plan.rebuild -%}

with pending as (

    {% for part in records %}
    {{ records_of(part, columns, is_pending=true) }}
    where {{ in_batches(plan.pending, plan.days) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {% endfor %}

),

{% if bring_history -%}
affected as (

    select {{ keys }} from pending
    where _is_valid
    union
    select {{ keys }} from {{ built }}
    where _batch_id = any('{ {{- plan.replaced | join(', ') -}} }'::bigint [])
    {%- if recheck %}
    union
    ({{ recheck }})
    {%- endif %}

),

history as (

    {% for part in records %}
    {{ records_of(part, columns, is_pending=false) }}
    where {{ in_batches(plan.history, plan.history_days) }}
        {%- if not recheck %}
        and cardinality(_errors) = 0
        {%- endif %}
        and (({{ keys }}) in (select {{ keys }} from affected){% if recheck %} or {{ key[0] }} is null{% endif %})
    {%- if not loop.last %}
    union all
    {%- endif %}
    {% endfor %}

),

{% endif -%}
contenders as (

    select * from pending
    {%- if bring_history %}
    union all
    select * from history
    {%- endif %}

),

ranked as (

    select
        contenders.*,
        row_number() over (
            partition by contenders._is_valid, {% for column in key %}contenders.{{ column }}{% if not loop.last %}, {% endif %}{% endfor %}
            order by {{ newest_first(order, 'contenders') }}
        ) as _rank
        {%- if bring_history or plan.days | unique | list | length > 1 %},
        row_number() over (
            partition by contenders._is_valid, {% for column in key %}contenders.{{ column }}, {% endfor %}contenders._day
            order by {{ newest_first(order, 'contenders') }}
        ) as _day_rank
        {%- endif %}
    from contenders

)

select
    ranked.*
    {%- if not (bring_history or plan.days | unique | list | length > 1) %},
    -- one day only
    ranked._rank as _day_rank
    {%- endif %}
from ranked
{%- endmacro %}


{% macro records_of(part, columns, is_pending) -%}
    {%- set own = landed_columns(part.table) -%}
    select
        {%- for name, column in columns.items() %}
        {% if name in own %}{{ name }}{% else %}null::{{ column.data_type }} as {{ name }}{% endif %},
        {%- endfor %}
        {%- for name in part.derived or [] %}
        {{ name }},
        {%- endfor %}
        cardinality(_errors) = 0 as _is_valid,
        _errors,
        -- only quarantine reads the text again
        case when cardinality(_errors) > 0 then _landed end as _landed,
        _extra,
        {{ is_pending }} as _is_pending,
        '{{ part.table }}' as _source_table,
        {{ part.rank or 0 }}::smallint as _source_rank,
        _day,
        _batch_id,
        _source_file,
        _source_row
    from {{ part.typed }}
{%- endmacro %}
