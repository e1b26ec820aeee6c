{#- What a model asks of its plan, and what it remembers beside batches. -#}

{% macro is_pending(table, work) -%}
    {#- Whether a landed row of `table` belongs to a pending batch. -#}
    {%- set rows = work.pending | reject('in', work.again) | selectattr('table_name', 'equalto', table) | list -%}
    _day = any('{ {{- rows | map(attribute='day') | join(', ') -}} }'::date []) and _batch_id = any('{ {{- rows | map(attribute='batch_id') | join(', ') -}} }'::bigint [])
{%- endmacro %}


{% macro pending_days(work) -%}
    '{ {{- work.pending | map(attribute='day') | unique | join(', ') -}} }'::date []
{%- endmacro %}


{% macro in_pending_days(work) -%}
    {#- Whether a held record's place is taken by a pending batch of its table and day. -#}
    {% if work.whole %}true{% else %}{{ of_batches(work.pending) }}{% endif %}
{%- endmacro %}


{% macro of_batches(rows) -%}
    {#- Whether a held record is of one of these tables and days. -#}
    {%- if not rows -%}false{%- else -%}
    (
        held._day = any('{ {{- rows | map(attribute='day') | unique | join(', ') -}} }'::date [])
        and (held._source_table, held._day) in (
            {%- for row in rows %}('{{ row.table_name }}', '{{ row.day }}'::date){% if not loop.last %}, {% endif %}{% endfor -%}
        )
    )
    {%- endif -%}
{%- endmacro %}


{% macro mark_changed(mark) -%}
    {#- Whether the mark of this model's plan has changed since its last build. -#}
    (
        select not exists (
            select 1 from {{ source('control', 'applied_batches') }} as remembered
            where remembered.model = '{{ model.name }}' and remembered.table_name = 'mark' and remembered.batch_id = {{ mark }}
        )
    )
{%- endmacro %}


{% macro changed_keys(records, key, work) -%}
    {#- The keys that the model works out anew: of the records that pending batches brought, and of
        the rows here that stand on a batch which is gone. -#}
    select distinct {{ key | join(', ') }} from {{ records }}
    where {{ key | join(' is not null and ') }} is not null
    {%- if not work.whole %}
        and _day = any({{ pending_days(work) }})
    {%- if work.gone %}
    union
    select {{ key | join(', ') }} from {{ this }}
    where _batch_id = any('{ {{- work.gone | join(', ') -}} }'::bigint [])
    {%- endif %}
    {%- endif %}
{%- endmacro %}


{% macro records_of_changed_keys(records, key, work) -%}
    {#- The records among which each key that the model works out anew has its winner: while days
        come in order those of the pending days, and no key is looked up; else its last that won. -#}
    {%- if work.has_later or work.gone -%}
    select winner.*
    from ({{ changed_keys(records, key, work) }}) as changed
    cross join
        lateral (
            select * from {{ records }} as held
            where {{ columns_of('held', key) }} = {{ columns_of('changed', key) }}
                and held._outcome in ('inserted', 'updated', 'unchanged')
            order by held._day desc
            limit 1
        ) as winner
    {%- else -%}
    select * from {{ records }}
    where {% if work.whole %}true{% else %}_day = any({{ pending_days(work) }}){% endif %}
    {%- endif -%}
{%- endmacro %}


{% macro newest_day(records, table, until=none) -%}
    {#- The newest day on which `table` has landed, of those that `records` took in, `until` a day. -#}
    (
        select max(applied.day)
        from {{ source('control', 'applied_batches') }} as applied
        inner join {{ source('ledger', 'load_batches') }} as landed on applied.batch_id = landed.batch_id
        where applied.model = '{{ records }}' and applied.table_name = '{{ table }}' and landed.status = 'succeeded'
            {%- if until %} and applied.day <= {{ until }}{% endif %}
    )
{%- endmacro %}
