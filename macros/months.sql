{% macro month_of(time) -%}
    date_trunc('month', {{ time }} at time zone 'UTC')::date
{%- endmacro %}


{% macro catalogue_mark() -%}
    coalesce((select hashtextextended(max(state.catalogue), 0) from {{ source('ledger', 'match_state') }} as state), 0)
{%- endmacro %}


{% macro months_to_work_out(work) -%}
    {#- The first days of the months whose spend may have changed, none for all: those of the
        transactions that pending batches brought, wherever another record of one put it, those of
        authorizations that name one, and those with a name that is looked up anew. A batch that is
        gone does not say which months it spoke of: then it is all. -#}
    {%- if not execute or work.whole or work.gone | length > work.again | length -%}{{ return(none) }}{%- endif -%}
    {%- set found -%}
    select month::text from {{ this }} where not is_looked_up or catalogue <> {{ catalogue_mark() }}
    {%- if work.pending %}
    union
    select {{ month_of('versions.occurred_time') }}::text
    from {{ ref('int_transactions_records') }} as pending
    cross join
        lateral (
            select held.occurred_time from {{ ref('int_transactions_records') }} as held
            where held.transaction_id = pending.transaction_id and held._outcome <> 'quarantined'
            offset 0
        ) as versions
    where pending._day = any({{ pending_days(work) }})
    union
    select named.month::text
    from {{ ref('int_transactions_records') }} as pending
    inner join {{ ref('int_transactions_named') }} as named on pending.transaction_id = named.transaction_id
    where pending._day = any({{ pending_days(work) }})
    {%- endif %}
    {%- endset -%}
    {{ return(run_query(found).columns[0].values() | sort) }}
{%- endmacro %}


{% macro in_months(months, time) -%}
    {#- As literals: the index on the time is planned with. -#}
    {%- if months is none -%}
    true
    {%- elif not months -%}
    false
    {%- else -%}
    (
        {%- for month in months %}
        {{ time }} >= '{{ month }} UTC'::timestamptz and {{ time }} < ('{{ month }}'::timestamp + interval '1 month') at time zone 'UTC'
        {%- if not loop.last %} or{% endif %}
        {%- endfor %}
    )
    {%- endif -%}
{%- endmacro %}


{% macro covers_months(work) -%}
    {%- set months = months_to_work_out(work) -%}
    {% if months is none %}true{% elif not months %}false{% else %}held.month = any('{ {{- months | join(', ') -}} }'::date []){% endif %}
{%- endmacro %}
