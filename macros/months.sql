{% macro note_changed_months() -%}
    {#- Before transactions are written: the months that this build changes, of the records that
        come and of those that they replace. An authorization changes with the clearing it names. -#}
    {%- set plan = work_plan('transactions', ['stg_transactions'], recheck=rates_changed()) -%}
    {%- set pending = ref('int_transactions_pending') -%}
    {%- set named = named_in_authorizations() -%}
    {%- set is_kept = execute and load_relation(named) is not none -%}
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
    select named.month::text
    from {{ pending }} as incoming
    inner join {{ named }} as named on incoming.transaction_id = named.transaction_id
    where incoming._is_valid and incoming._rank = 1
    {%- endset -%}
    {#- asked for on its own: what an insert selects is never worked out in parallel -#}
    {%- if is_kept and plan.in_order -%}{%- set months = run_query(found).columns[0].values() -%}{%- endif -%}
    {%- if months -%}
    insert into {{ source('control', 'changed_months') }} as held (month)
    values {% for month in months %}('{{ month }}'){% if not loop.last %}, {% endif %}{% endfor %}
    on conflict (month) do update set changed_at = clock_timestamp();
    {%- endif %}
    {%- if not is_kept %}
    create table {{ named }} (transaction_id text, month date, primary key (transaction_id, month));
    drop index if exists {{ this.schema }}.transactions_children;
    {%- endif %}
    {%- if plan.rebuild %}
    truncate {{ named }};
    {%- endif %}
    insert into {{ named }} (transaction_id, month)
    {{ names_in(pending) }} and records._is_valid and records._rank = 1
    {%- if not is_kept and not plan.rebuild %}
    union
    {{ names_in(this) }}
    {%- endif %}
    on conflict (transaction_id, month) do nothing
{%- endmacro %}


{% macro named_in_authorizations() -%}
    {#- The ids that authorizations name, with the months these are in, of all of history: without
        it each month would be asked who names the records of a day. An authorization that is
        replaced stays in it, which costs no more than a month worked out again in vain. -#}
    {{ return(api.Relation.create(
        database=target.database,
        schema=generate_schema_name('intermediate', none),
        identifier='named_in_authorizations',
    )) }}
{%- endmacro %}


{% macro names_in(transactions) -%}
    select distinct
        children.transaction_id,
        {{ month_of('records.occurred_time') }}
    from {{ transactions }} as records
    cross join lateral jsonb_array_elements_text(records.child_transaction_ids) as children (transaction_id)
    where records.transaction_type = 'AUTHORIZATION' and not {{ is_too_long('children.transaction_id') }}
{%- endmacro %}


{% macro month_of(time) -%}
    date_trunc('month', {{ time }} at time zone 'UTC')::date
{%- endmacro %}


{% macro transactions_indexes() -%}
    create index if not exists transactions_occurred_time on {{ this }} using brin (occurred_time)
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
    {#- Held until all is noted as done: what another build changes meanwhile must stay noted. -#}
    {%- do run_query("lock table " ~ source('control', 'changed_months') ~ " in share row exclusive mode") -%}
    {%- if is_incremental() -%}
    {%- set months = changed_months() -%}
    {%- if in_changed_months('occurred_time') not in model.compiled_code -%}
        {{ exceptions.raise_compiler_error("Another build changed transactions while this one ran: build again.") }}
    {%- endif -%}
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
