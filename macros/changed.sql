{% macro winning_records(records, key, also='') -%}
    {#- The last write of each key that may have changed. Of one day after all others that is what won
        on it, and no key is looked up. -#}
    {%- set work, won = plan(), "_outcome in ('inserted', 'updated', 'unchanged')" -%}
    {%- if not work.whole and (work.has_later or work.gone or also) -%}
    select winner.*
    from (
        select {{ key }} from {{ records }} where _day = any({{ work.days }})
        union
        select {{ key }} from {{ this }} where _batch_id = any({{ array_of(work.gone, 'bigint') }})
        {%- if also %}
        union
        {{ also }}
        {%- endif %}
    ) as changed
    cross join lateral (
        select * from {{ records }}
        where row({{ key }}) = row(changed.*) and {{ won }}
        order by _day desc
        limit 1
    ) as winner
    {%- else -%}
    {%- set several = work.whole or work.spans_days -%}
    select {{ 'distinct on (' ~ key ~ ') ' if several }}* from {{ records }}
    where {{ won }}{{ ' and _day = any(' ~ work.days ~ ')' if not work.whole }}
    {{ 'order by ' ~ key ~ ', _day desc' if several }}
    {%- endif -%}
{%- endmacro %}


{% macro newest_day(records, table, until="'infinity'") -%}
    (
        select max(applied.day)
        from {{ source('control', 'applied_batches') }} as applied
        inner join {{ source('ledger', 'load_batches') }} as landed on applied.batch_id = landed.batch_id
        where applied.model = '{{ records }}' and applied.table_name = '{{ table }}' and landed.status = 'succeeded' and applied.day <= {{ until }}
    )
{%- endmacro %}


{% macro mark_changed(mark) -%}
    not exists (
        select 1 from {{ source('control', 'applied_batches') }} as remembered
        where remembered.model = '{{ model.name }}' and remembered.table_name = 'mark' and remembered.batch_id = {{ mark }}
    )
{%- endmacro %}


{% macro array_of(values, type) -%}
    '{ {{- values | join(', ') -}} }'::{{ type }} []
{%- endmacro %}
