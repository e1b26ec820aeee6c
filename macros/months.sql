{% macro note_changed_months() -%}
    {#- Before transactions are written: the months that this build changes, of the records that
        come and of those that they replace. An authorization changes with the clearing it names. -#}
    {%- set plan = work_plan('transactions', ['stg_transactions'], recheck=rates_changed()) -%}
    {%- set pending = ref('int_transactions_pending') -%}
    {%- set months = ['-infinity'] -%}
    {%- set found -%}
    select {{ month_of('incoming.occurred_time') }}::text from {{ pending }} as incoming
    where incoming._is_valid and incoming._rank = 1
    union
    select {{ month_of('there.occurred_time') }}::text
    from {{ pending }} as incoming
    inner join {{ keys_of(this) if is_partitioned(this) else this }} as there on incoming.transaction_id = there.transaction_id
    where incoming._is_valid and incoming._rank = 1
    union
    select {{ month_of('authorizations.occurred_time') }}::text
    from {{ pending }} as incoming
    -- one at a time, by the index: joined whole, Postgres may hold each against each, which took
    -- two minutes for 20,000 records and 49,000 authorizations
    cross join
        lateral (
            select held.occurred_time from {{ this }} as held
            where held.child_transaction_ids @> to_jsonb(incoming.transaction_id)
                and held.transaction_type = 'AUTHORIZATION'
                and held.child_transaction_ids <> '[]'
            offset 0
        ) as authorizations
    where incoming._is_valid
        and incoming._rank = 1
        and exists (
            select 1 from {{ this }} as held
            where held.transaction_type = 'AUTHORIZATION' and held.child_transaction_ids <> '[]'
        )
    {%- endset -%}
    {#- asked for on its own: what an insert selects is never worked out in parallel -#}
    {%- if execute and plan.in_order -%}{%- set months = run_query(found).columns[0].values() -%}{%- endif -%}
    {%- if months -%}
    insert into {{ source('control', 'changed_months') }} as held (month)
    values {% for month in months %}('{{ month }}'){% if not loop.last %}, {% endif %}{% endfor %}
    on conflict (month) do update set changed_at = clock_timestamp()
    {%- endif -%}
{%- endmacro %}


{% macro month_of(time) -%}
    date_trunc('month', {{ time }} at time zone 'UTC')::date
{%- endmacro %}


{% macro transactions_indexes() -%}
    {#- For what is asked by time, and for the authorizations that name a clearing: few records,
        and without this each new one would be looked for in all of history. -#}
    create index if not exists transactions_occurred_time on {{ this }} using brin (occurred_time);
    create index if not exists transactions_children on {{ this }} using gin (child_transaction_ids jsonb_path_ops)
        where transaction_type = 'AUTHORIZATION' and child_transaction_ids <> '[]'
{%- endmacro %}


{% macro changed_months() -%}
    {#- The first days of the months to work out again; none for all: too much has changed, or
        names were matched with another catalogue. -#}
    {%- if not execute or flags.WHICH not in ('build', 'run') -%}{{ return([]) }}{%- endif -%}
    {%- set found = run_query(
        "select month::text from " ~ source('control', 'changed_months')
        ~ " union select month::text from " ~ this ~ " where not is_looked_up"
        ~ " union select '-infinity' where not exists (select 1 from " ~ source('control', 'applied_batches')
        ~ " where model = '" ~ model.name ~ "' and batch_id = " ~ catalogue_mark() ~ ")"
    ).columns[0].values() | list -%}
    {{ return(none if '-infinity' in found else found | sort) }}
{%- endmacro %}


{% macro in_changed_months(time) -%}
    {#- As literals: they prune partitions while the query is planned. -#}
    {%- set months = changed_months() -%}
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


{% macro catalogue_mark() -%}
    coalesce((select hashtextextended(max(state.catalogue), 0) from {{ source('ledger', 'match_state') }} as state), 0)
{%- endmacro %}


{% macro forget_changed_months() -%}
    {%- if is_incremental() -%}
    {%- set months = changed_months() -%}
    delete from {{ this }}
    where {% if months is none %}true{% else %}month = any('{ {{- months | join(', ') -}} }'::date []){% endif %}
    {%- endif -%}
{%- endmacro %}


{% macro remember_months() -%}
    delete from {{ source('control', 'changed_months') }};
    insert into {{ source('control', 'applied_batches') }} as held (model, table_name, day, batch_id, flow_run_id)
    values ('{{ model.name }}', 'catalogue', date '1970-01-01', {{ catalogue_mark() }}, {{ run_id() }})
    on conflict (model, table_name, day) do update set
        batch_id = excluded.batch_id,
        flow_run_id = excluded.flow_run_id,
        applied_at = clock_timestamp()
    where held.batch_id <> excluded.batch_id;
    analyze {{ this }}
{%- endmacro %}
