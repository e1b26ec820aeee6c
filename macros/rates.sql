{% macro fx_priority() -%}
    {#- The order in which sources of a rate are asked: DAYBOOK_FX_PRIORITY. -#}
    {%- set priority = env_var('DAYBOOK_FX_PRIORITY', 'reference,payload').replace(' ', '').split(',') -%}
    {%- if priority | reject('in', ['reference', 'payload']) | list or (priority | unique | list | length) != (priority | length) -%}
        {{ exceptions.raise_compiler_error(
            "DAYBOOK_FX_PRIORITY names reference and payload, in the order to ask them: reference,payload") }}
    {%- endif -%}
    {{ return(priority) }}
{%- endmacro %}


{% macro rated(records, fx_rates, fx_reference) -%}
    {#- `records` (currency, occurred_time, exchange_rate) with the rate that converts them: that of
        the transaction's UTC date, where the newest of at most 7 days counts and a landed rate
        beats the European Central Bank's of the same date, or the record's own. -#}
    select
        records.*,
        case when records.currency = 'USD' then 'usd' {% for source in fx_priority() %}when {{ source }}_rate is not null then '{{ source }}' {% endfor %}end as fx_source,
        case when records.currency = 'USD' then 1 else coalesce({{ fx_priority() | join('_rate, ') }}_rate) end as fx_rate,
        case {% for source in fx_priority() %}when {{ source }}_rate is not null then {{ source }}_date {% endfor %}else payload_date end as fx_date
    from {{ records }} as records
    -- a row from no table: Postgres expects few values of it, and looks each one's rate up once
    -- (an offset alone says the same, but there sqlfluff can't read it)
    cross join
        lateral (
            select
                nullif(records.currency, 'USD') as currency,
                (records.occurred_time at time zone 'UTC')::date as payload_date,
                -- what no product with an amount can make overflow
                case when records.exchange_rate > 0 and records.exchange_rate < 1e9 then records.exchange_rate end as payload_rate
            limit all offset 0
        ) as asked
    left join
        lateral (
            select
                quotes.usd_per_unit as reference_rate,
                quotes.rate_date as reference_date
            from (
                select usd_per_unit, rate_date, 1 as precedence from {{ fx_rates }}
                where currency = asked.currency and rate_date between asked.payload_date - 7 and asked.payload_date
                union all
                select usd_per_unit, rate_date, 0 as precedence from {{ fx_reference }}
                where currency = asked.currency and rate_date between asked.payload_date - 7 and asked.payload_date
            ) as quotes
            order by quotes.rate_date desc, quotes.precedence desc
            limit 1
        ) as rates
        on true
{%- endmacro %}
