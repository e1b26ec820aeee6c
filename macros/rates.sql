{% macro fx_priority() -%}
    {#- The order in which sources of a rate are asked: DAYBOOK_FX_PRIORITY. -#}
    {%- set priority = env_var('DAYBOOK_FX_PRIORITY', 'reference,payload').replace(' ', '').split(',') -%}
    {%- if priority | reject('in', ['reference', 'payload']) | list or (priority | unique | list | length) != (priority | length) -%}
        {{ exceptions.raise_compiler_error(
            "DAYBOOK_FX_PRIORITY names reference and payload, in the order to ask them: reference,payload") }}
    {%- endif -%}
    {{ return(priority) }}
{%- endmacro %}


{% macro reference_rate(currency, day) -%}
    {#- The newest reference rate at most 7 days old; on the same date a landed rate beats the
        European Central Bank's. -#}
    select
        quotes.usd_per_unit,
        quotes.rate_date
    from (
        select usd_per_unit, rate_date, 1 as precedence from {{ ref('fx_rates') }}
        where currency = {{ currency }} and rate_date between {{ day }} - 7 and {{ day }}
        union all
        select usd_per_unit, rate_date, 0 as precedence from {{ source('ledger', 'fx_reference') }}
        where currency = {{ currency }} and rate_date between {{ day }} - 7 and {{ day }}
    ) as quotes
    order by quotes.rate_date desc, quotes.precedence desc
    limit 1
{%- endmacro %}


{% macro rates_mark() -%}
    {#- A number that differs when the rates, or the order in which they are asked, do. -#}
    (
        select
            hashtextextended(
                concat_ws(
                    '|',
                    '{{ fx_priority() | join(",") }}',
                    (select extract(epoch from max(state.loaded_at))::text from {{ source('ledger', 'fx_reference_state') }} as state),
                    (
                        select string_agg(applied.day || ':' || applied.batch_id, ',' order by applied.day)
                        from {{ source('control', 'applied_batches') }} as applied
                        where applied.model = 'fx_rates'
                    )
                ),
                0
            )
    )
{%- endmacro %}


{% macro rates_changed() -%}
    {#- Whether silver.transactions was worked out with other rates than today's. -#}
    {%- set mark = rates_mark() -%}
    {%- if execute and flags.WHICH in ('build', 'run') and relation_if_built('transactions', 'silver') -%}
        {{ return(run_query(
            "select not exists (select 1 from " ~ source('control', 'applied_batches')
            ~ " where model = 'transactions:rates' and batch_id = " ~ mark ~ ")"
        ).rows[0][0]) }}
    {%- endif -%}
    {{ return(false) }}
{%- endmacro %}


{% macro remember_rates() -%}
    {#- Of the pending records too: a model built alone must not take theirs for today's. -#}
    insert into {{ source('control', 'applied_batches') }} as held (model, table_name, day, batch_id, flow_run_id)
    values ('{{ model.name }}:rates', 'rates', date '1970-01-01', {{ rates_mark() }}, {{ run_id() }})
    on conflict (model, table_name, day) do update set
        batch_id = excluded.batch_id,
        flow_run_id = excluded.flow_run_id,
        applied_at = clock_timestamp()
    where held.batch_id <> excluded.batch_id
{%- endmacro %}


{% macro refuse_other_rates() -%}
do $$
begin
    if not exists (
        select 1 from {{ source('control', 'applied_batches') }}
        where model = 'int_transactions_pending:rates' and batch_id = {{ rates_mark() }}
    ) then
        raise exception 'exchange rates changed since the records were rated: build again, with everything it needs (dbt build --select +{{ model.name }})';
    end if;
end;
$$
{%- endmacro %}


{% macro transactions_to_rate_again() -%}
    {#- The keys of transactions, quarantined ones included, that today's rates may change. -#}
    select transactions.transaction_id
    from {{ relation_if_built('transactions', 'silver') }} as transactions
    left join lateral ({{ reference_rate('transactions.currency', "(transactions.occurred_time at time zone 'UTC')::date") }}) as rates on true
    where transactions.fx_source <> 'usd'
        {%- if fx_priority() == ['reference', 'payload'] %}
        and case
            when rates.usd_per_unit is null then transactions.fx_source = 'reference'
            else (transactions.fx_source, transactions.exchange_rate, transactions.fx_date)
                is distinct from ('reference', rates.usd_per_unit, rates.rate_date)
        end
        {%- endif %}
    {%- if relation_if_built('transactions', 'quarantine') %}
    union
    select transaction_id from {{ relation_if_built('transactions', 'quarantine') }}
    where transaction_id is not null
    {%- endif %}
{%- endmacro %}
