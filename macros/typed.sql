{% macro landed_columns(table) -%}
    {#- The columns the sources file declares for a landed table, by name. -#}
    {%- set found = graph.sources.values() | selectattr('name', 'equalto', table) | list if execute else [] -%}
    {{ return(found[0].columns if found else {}) }}
{%- endmacro %}


{% macro typed_records(landed, table, required=[], arrays=[], lenient=[], checks={}, keep_landed='cardinality(checked._errors) > 0') -%}
    {#- `landed` cast to the declared types, each row with every reason why it is not valid:
        a `required` column that is blank, a value that is not of its type (but in `lenient`
        columns), an `arrays` column that holds no array, and `checks`: reason → condition; or
        `forgotten` alone, of what loaders/forget.py has left of a record. _landed is
        the record as it landed, for rows that meet `keep_landed`. -#}
    {#- Each value is worked out once a row: Postgres makes no query with a CTE one with the query
        around it, which would copy an expression to wherever it is read. A filter on the day still
        gets through, and parallel workers do all of it, which they don't in a lateral join. -#}
    {%- set lineage = ['_extra', '_day', '_batch_id', '_source_file', '_source_row'] %}
    select
        {%- for name in landed_columns(table) %}
        checked.{{ name }},
        {%- endfor %}
        {%- for name in lenient %}
        checked.{{ name }}_text,
        {%- endfor %}
        case when checked._extra = '"forgotten"' then '{forgotten}' else checked._errors end as _errors,
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
                (typed._record).{{ name }} as {{ name }}_text,
                {%- endfor %}
                array_remove(
                    array[
                        {%- for name, column in landed_columns(table).items() %}
                        {%- if (column.data_type != 'text' or is_id(name, column, table)) and name not in lenient %}
                        case
                            when typed.{{ name }} is null and (typed._record).{{ name }} ~ '\S'
                                {%- if column.data_type == 'jsonb' %} and btrim((typed._record).{{ name }}) <> 'null'{% endif %} then '{{ name }}_invalid'
                            {%- if name in arrays %}
                            when jsonb_typeof(typed.{{ name }}) <> 'array' then '{{ name }}_invalid'
                            {%- endif %}
                        end,
                        {%- endif %}
                        {%- if name in required %}
                        case when typed.{{ name }} is null and {{ has_text('(typed._record).' ~ name) }} is not true then '{{ name }}_missing' end,
                        {%- endif %}
                        {%- endfor %}
                        {%- for reason, condition in checks.items() %}
                        case when {{ condition }} then '{{ reason }}' end,
                        {%- endfor %}
                        null
                    ]::text [],
                    null
                ) as _errors
            from (
                with cast_once as (
                    select
                        {%- for name, column in landed_columns(table).items() %}
                        {{ typed_value('landed.' ~ name, column.data_type, is_id(name, column, table)) }} as {{ name }},
                        {%- endfor %}
                        landed as _record,
                        landed.{{ lineage | join(', landed.') }}
                    from {{ landed }} as landed
                )

                select * from cast_once
            ) as typed
        )

        select * from fenced
    ) as checked
{%- endmacro %}
