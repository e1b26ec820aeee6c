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
        rated.*,
        case fx_source when 'usd' then 1 when 'reference' then reference_rate when 'payload' then payload_rate end as fx_rate,
        case fx_source when 'reference' then reference_date else occurred_on end as fx_date
    from (
        select
            records.*,
            asked.occurred_on,
            asked.payload_rate,
            rates.reference_rate,
            rates.reference_date,
            case
                when records.currency = 'USD' then 'usd'
                {%- for source in fx_priority() %}
                when {{ source }}_rate is not null then '{{ source }}'
                {%- endfor %}
            end as fx_source
        from {{ records }} as records
        -- a row from no table: Postgres expects few values of it, and looks each one's rate up once
        -- (an offset alone says the same, but there sqlfluff can't read it)
        cross join
            lateral (
                select
                    nullif(records.currency, 'USD') as currency,
                    (records.occurred_time at time zone 'UTC')::date as occurred_on,
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
                    where currency = asked.currency and rate_date between asked.occurred_on - 7 and asked.occurred_on
                    union all
                    select usd_per_unit, rate_date, 0 as precedence from {{ fx_reference }}
                    where currency = asked.currency and rate_date between asked.occurred_on - 7 and asked.occurred_on
                ) as quotes
                order by quotes.rate_date desc, quotes.precedence desc
                limit 1
            ) as rates
            on true
    ) as rated
{%- endmacro %}
