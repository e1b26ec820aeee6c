{#- What a landed text must look like to be a value of its type. Postgres' own casts accept
    NaN, Infinity, today and 03/04/2024, so each has a pattern; where a pattern cannot tell
    (2026-02-30, a bigint that is too big) pg_input_is_valid decides. -#}

{% macro typed_value(column, data_type) -%}
    {%- if data_type == 'text' -%}
    case when {{ has_text(column) }} then {{ column }} end
    {%- elif data_type == 'bigint' -%}
    case
        when {{ column }} ~ '^-?[0-9]{1,18}$' then {{ column }}::bigint
        when {{ column }} ~ '^-?[0-9]+$' and pg_input_is_valid({{ column }}, 'bigint') then {{ column }}::bigint
    end
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
    case
        when
            {{ column }} ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[-+][0-9]{2}(:?[0-9]{2})?)?)?$'
            and pg_input_is_valid({{ column }}, 'timestamptz')
            then
                case
                    when {{ column }} like '%Z' or {{ column }} ~ '[T ].*[-+][0-9:]+$' then {{ column }}::timestamptz
                    else ({{ column }} || ' UTC')::timestamptz
                end
    end
    {%- elif data_type == 'jsonb' -%}
    case when {{ has_text(column) }} and pg_input_is_valid({{ column }}, 'jsonb') then nullif({{ column }}::jsonb, 'null') end
    {%- else -%}
    {{ exceptions.raise_compiler_error("no rule types a landed text as " ~ data_type) }}
    {%- endif -%}
{%- endmacro %}


{% macro has_text(column) -%}
    {#- Most values begin with a printable ASCII character: told without a regular expression. -#}
    ({{ column }} collate "C" between '!' and '~' or {{ column }} ~ '\S')
{%- endmacro %}


{% macro is_too_long(key) -%}
    {#- No index holds a value of more than some 2,700 bytes. -#}
    octet_length({{ key }}) > 2500
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
                        {%- if column.data_type != 'text' and name not in lenient %}
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
                        {{ typed_value('landed.' ~ name, column.data_type) }} as {{ name }}
                        {%- if not loop.last %},{% endif %}
                        {%- endfor %}
                    offset 0
                ) as typed
        )

        select * from fenced
    ) as checked
{%- endmacro %}
