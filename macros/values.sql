{#- What a landed text must look like to be a value of its type. Postgres' own casts accept
    NaN, Infinity, today and 03/04/2024, so each has a pattern; where a pattern cannot tell
    (2026-02-30, a number that is too big) pg_input_is_valid decides. -#}

{% macro typed_value(column, data_type) -%}
    {%- if data_type == 'id' -%}
    {#- in one collation everywhere: an index on ids serves no comparison in another -#}
    bronze.id_text({{ column }}) collate "C"
    {%- elif data_type == 'text' -%}
    case when {{ has_text(column) }} then {{ column }} end
    {%- elif data_type in ('integer', 'bigint') -%}
    {%- set whole = "split_part(" ~ column ~ ", '.', 1)" %}
    case when {{ column }} ~ '^[-+]?[0-9]+([.]0+)?$' and pg_input_is_valid({{ whole }}, '{{ data_type }}') then {{ whole }}::{{ data_type }} end
    {%- elif data_type == 'numeric' -%}
    case when {{ column }} ~ '^[-+]?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$' and pg_input_is_valid({{ column }}, 'numeric') then trim_scale({{ column }}::numeric) end
    {%- elif data_type == 'boolean' -%}
    case lower({{ column }}) when 'true' then true when 'false' then false end
    {%- elif data_type == 'date' -%}
    {#- one that was kept as midnight too -#}
    {%- set day = "left(" ~ column ~ ", 10)" %}
    case
        when {{ column }} ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]00:00(:00([.]0+)?)?(Z|[-+]00(:?00)?)?)?$' and pg_input_is_valid({{ day }}, 'date')
            then {{ day }}::date
    end
    {%- elif data_type == 'timestamptz' -%}
    {#- ISO 8601 as RFC 3339 writes it; without an offset UTC; years 1 to 9999 in UTC; fractions
        beyond microseconds are cut, where Postgres would round. -#}
    {%- set moment -%}
        (
            case when length({{ column }}) > 26 then regexp_replace({{ column }}, '([.][0-9]{6})[0-9]+', '\1') else {{ column }} end
            || case when right({{ column }}, 1) in ('Z', 'z', 'C') or {{ column }} ~ '[Tt ].*[-+][0-9:]+$' then '' else ' UTC' end
        )::timestamptz
    {%- endset %}
    case
        when
            (
                -- as most are written: a pattern that repeats itself takes Postgres half the time
                ({{ column }} like '____-__-__T__:__:__Z' or {{ column }} like '____-__-__T__:__:__.%')
                and {{ column }} ~ '^[0-9]{4}([-T:][0-5][0-9])+([.][0-9]+)?Z$'
                and {{ column }} not like '___________24%'
                or {{ column }} ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?([Zz]| ?UTC| ?[-+][0-9]{2}(:?[0-9]{2})?)?)?$'
            )
            and pg_input_is_valid({{ column }}, 'timestamptz')
            then
                case
                    -- only here can an offset lead out of the years 1 to 9999
                    when
                        left({{ column }}, 10) not in ('0001-01-01', '9999-12-31')
                        or extract(year from {{ moment }} at time zone 'UTC') between 1 and 9999
                        then {{ moment }}
                end
    end
    {%- elif data_type == 'jsonb' -%}
    {#- What is too deep for Postgres' stack would end the statement. Few values have a thousand brackets. -#}
    case
        when {{ has_text(column) }}
            and (length({{ column }}) - length(translate({{ column }}, '[{', '')) <= 1000 or bronze.json_depth({{ column }}) <= 1000)
            and pg_input_is_valid({{ column }}, 'jsonb')
            then nullif({{ column }}::jsonb, 'null')
    end
    {%- else -%}
    {{ exceptions.raise_compiler_error("no rule types a landed text as " ~ data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro ids_of(list, landed='') -%}
    {#- The ids in a JSON array, as text[] in its order; null unless each element is one. A number that a
        spreadsheet has shortened is none: only `landed`, the list's text, tells, as jsonb fills it up with zeros. -#}
    {%- set shortened = "'[0-9][eE][-+]?[0-9]+[[:space:]]*[],]'" %}
    case
        {%- if landed %}
        -- a text in the list may look like it
        when {{ landed }} ~ {{ shortened }} and regexp_replace({{ landed }}, '"(?:[^"\\]|\\.)*"', '', 'g') ~ {{ shortened }} then null
        {%- endif %}
        when jsonb_typeof({{ list }}) = 'array'
            then (
                select coalesce(array_agg(ids.id order by ids.position), '{}')
                from (
                    select
                        position,
                        case when jsonb_typeof(element) in ('number', 'string') then {{ typed_value("element #>> '{}'", 'id') }} end as id
                    from jsonb_array_elements({{ list }}) with ordinality as elements (element, position)
                ) as ids
                having count(*) = count(ids.id)
            )
    end
{%- endmacro %}


{% macro has_text(column) -%}
    {#- Most values begin with a printable ASCII character: told without a regular expression. -#}
    ({{ column }} collate "C" between '!' and '~' or bronze.bare({{ column }}) is not null)
{%- endmacro %}
