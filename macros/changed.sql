{#- What a model works out anew. -#}

{% macro records_of_changed_keys(records, key, also='') -%}
    {#- The records among which each key that the model works out anew has its winner: while days
        come in order those of the pending days, and no key is looked up; else its last that won.
        `also`: SQL of keys to work out anew for another reason. -#}
    {%- set work = plan() -%}
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
    cross join
        lateral (
            select * from {{ records }}
            where row({{ key }}) = row(changed.*) and _outcome in ('inserted', 'updated', 'unchanged')
            order by _day desc
            limit 1
        ) as winner
    {%- else -%}
    select * from {{ records }}
    where {% if work.whole %}true{% else %}_day = any({{ work.days }}){% endif %}
    {%- endif -%}
{%- endmacro %}


{% macro newest_day(records, table, until="'infinity'") -%}
    {#- The newest day on which `table` has landed, of those that `records` took in, `until` a day. -#}
    (
        select max(applied.day)
        from {{ source('control', 'applied_batches') }} as applied
        inner join {{ source('ledger', 'load_batches') }} as landed on applied.batch_id = landed.batch_id
        where applied.model = '{{ records }}' and applied.table_name = '{{ table }}' and landed.status = 'succeeded'
            and applied.day <= {{ until }}
    )
{%- endmacro %}


{% macro mark_changed(mark) -%}
    {#- Whether the mark of this model's plan has changed since its last build. -#}
    not exists (
        select 1 from {{ source('control', 'applied_batches') }} as remembered
        where remembered.model = '{{ model.name }}' and remembered.table_name = 'mark' and remembered.batch_id = {{ mark }}
    )
{%- endmacro %}


{% macro array_of(values, type) -%}
    '{ {{- values | join(', ') -}} }'::{{ type }} []
{%- endmacro %}
