{#- What a landed text must look like to be a value of its type. Postgres' own casts accept
    NaN, Infinity, today and 03/04/2024, so each has a pattern; where a pattern cannot tell
    (2026-02-30, a number that is too big) pg_input_is_valid decides. -#}

{% macro landed_columns(table) -%}
    {#- The columns the sources file declares for a landed table, by name. -#}
    {%- set found = graph.sources.values() | selectattr('name', 'equalto', table) | list if execute else [] -%}
    {{ return(found[0].columns if found else {}) }}
{%- endmacro %}


{% macro typed_value(column, data_type, is_id=false) -%}
    {%- if is_id -%}
    bronze.id_text({{ column }})
    {%- elif data_type == 'text' -%}
    case when {{ has_text(column) }} then {{ column }} end
    {%- elif data_type == 'integer' -%}
    case when {{ column }} ~ '^-?[0-9]+$' and pg_input_is_valid({{ column }}, 'integer') then {{ column }}::integer end
    {%- elif data_type == 'numeric' -%}
    case
        when {{ column }} ~ '^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$' and pg_input_is_valid({{ column }}, 'numeric')
            then trim_scale({{ column }}::numeric)
    end
    {%- elif data_type == 'boolean' -%}
    case lower({{ column }}) when 'true' then true when 'false' then false end
    {%- elif data_type == 'date' -%}
    case
        when {{ column }} ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and pg_input_is_valid({{ column }}, 'date')
            then {{ column }}::date
    end
    {%- elif data_type == 'timestamptz' -%}
    {{ timestamptz_value(column) }}
    {%- elif data_type == 'jsonb' -%}
    case when {{ has_text(column) }} and pg_input_is_valid({{ column }}, 'jsonb') then nullif({{ column }}::jsonb, 'null') end
    {%- else -%}
    {{ exceptions.raise_compiler_error("no rule types a landed text as " ~ data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro ids_of(list) -%}
    {#- The ids in a JSON array, as text[] in its order; null unless each element is one. -#}
    case
        when jsonb_typeof({{ list }}) = 'array'
            then (
                select case when bool_and(ids.id is not null) is not false then coalesce(array_agg(ids.id order by ids.position), '{}') end
                from (
                    select
                        elements.position,
                        case
                            when jsonb_typeof(elements.element) in ('number', 'string')
                                then bronze.id_text(elements.element #>> '{}')
                        end as id
                    from jsonb_array_elements({{ list }}) with ordinality as elements (element, position)
                ) as ids
            )
    end
{%- endmacro %}


{% macro timestamptz_value(column) -%}
    {#- ISO 8601 as RFC 3339 writes it; without an offset UTC; years 1 to 9999 in UTC; fractions
        beyond microseconds are cut, where Postgres would round. -#}
    case
        when
            {{ column }} ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?([Zz]| ?UTC| ?[-+][0-9]{2}(:?[0-9]{2})?)?)?$'
            and pg_input_is_valid({{ column }}, 'timestamptz')
            then
                case
                    -- only here can an offset lead out of the years 1 to 9999
                    when left({{ column }}, 10) in ('0001-01-01', '9999-12-31')
                        then
                            case
                                when extract(year from {{ moment(column) }} at time zone 'UTC') between 1 and 9999
                                    then {{ moment(column) }}
                            end
                    else {{ moment(column) }}
                end
    end
{%- endmacro %}


{% macro moment(column) -%}
    (
        case
            when length({{ column }}) > 26 then regexp_replace({{ column }}, '([.][0-9]{6})[0-9]+', '\1')
            else {{ column }}
        end
        || case when right({{ column }}, 1) in ('Z', 'z', 'C') or {{ column }} ~ '[Tt ].*[-+][0-9:]+$' then '' else ' UTC' end
    )::timestamptz
{%- endmacro %}


{% macro has_text(column) -%}
    {#- Most values begin with a printable ASCII character: told without a regular expression. -#}
    ({{ column }} collate "C" between '!' and '~' or {{ column }} ~ '\S')
{%- endmacro %}


{% macro is_id(name, column, table) -%}
    {#- Text that names a thing: the key, and what is called …_id. -#}
    {%- set keys = graph.sources.values() | selectattr('name', 'equalto', table) | map(attribute='meta') | map(attribute='key') | first or [] -%}
    {{ return(column.data_type == 'text' and (name in keys or name.endswith('_id'))) }}
{%- endmacro %}


{% macro typed_records(landed, table, required=[], arrays=[], lenient=[], checks={}, derived={}, keep_landed='cardinality(checked._errors) > 0') -%}
    {#- `landed` cast to the declared types, each row with every reason why it is not valid:
        a `required` column that is blank, a value that is not of its type (but in `lenient`
        columns), an `arrays` column that holds no array, and `checks`: reason → condition.
        `derived`: more columns, name → expression. _landed is the record as it landed, for rows
        that meet `keep_landed`. -#}
    {#- Each value is worked out once a row: `offset 0`, and the CTE below, keep Postgres from
        copying an expression to wherever it is read. A filter on the day still gets through. -#}
    {%- set lineage = ['_extra', '_day', '_batch_id', '_source_file', '_source_row'] %}
    select
        {%- for name in landed_columns(table) %}
        checked.{{ name }},
        {%- endfor %}
        {%- for name in lenient %}
        checked.{{ name }}_text,
        {%- endfor %}
        {%- for name in derived %}
        checked.{{ name }},
        {%- endfor %}
        checked._errors,
        case
            when {{ keep_landed }}
                then to_jsonb(checked._record) - array['_loaded_at', '_day', '_batch_id', '_source_file', '_source_row']
        end as _landed,
        checked.{{ lineage | join(', checked.') }}
    from (
        with fenced as (
            select
                typed.*,
                {%- for name in lenient %}
                landed.{{ name }} as {{ name }}_text,
                {%- endfor %}
                {%- for name, expression in derived.items() %}
                {{ expression }} as {{ name }},
                {%- endfor %}
                array_remove(
                    array[
                        {%- for name, column in landed_columns(table).items() %}
                        {%- if (column.data_type != 'text' or is_id(name, column, table)) and name not in lenient %}
                        case
                            when typed.{{ name }} is null and landed.{{ name }} ~ '\S'
                                {%- if column.data_type == 'jsonb' %} and btrim(landed.{{ name }}) <> 'null'{% endif %} then '{{ name }}_invalid'
                            {%- if name in arrays %}
                            when jsonb_typeof(typed.{{ name }}) <> 'array' then '{{ name }}_invalid'
                            {%- endif %}
                        end,
                        {%- endif %}
                        {%- if name in required %}
                        case when typed.{{ name }} is null and {{ has_text('landed.' ~ name) }} is not true then '{{ name }}_missing' end,
                        {%- endif %}
                        {%- endfor %}
                        {%- for reason, condition in checks.items() %}
                        case when {{ condition }} then '{{ reason }}' end,
                        {%- endfor %}
                        null
                    ]::text [],
                    null
                ) as _errors,
                landed as _record,
                landed.{{ lineage | join(', landed.') }}
            from {{ landed }} as landed
            cross join
                lateral (
                    select
                        {%- for name, column in landed_columns(table).items() %}
                        {{ typed_value('landed.' ~ name, column.data_type, is_id(name, column, table)) }} as {{ name }}
                        {%- if not loop.last %},{% endif %}
                        {%- endfor %}
                    offset 0
                ) as typed
        )

        select * from fenced
    ) as checked
{%- endmacro %}
