{% macro landed_table(table) -%}
    {{ return(graph.sources.values() | selectattr('name', 'equalto', table) | first if execute else {'columns': {}, 'meta': {'key': ['key']}}) }}
{%- endmacro %}


{% macro typed_records(table, required=[], arrays=[], checks={}, keep_landed='cardinality(checked._errors) > 0') -%}
    {#- A column that is `required` and blank, not of its type, or no array where it is one of `arrays`,
        and `checks` are each a reason; or `forgotten` alone, of what loaders/forget.py has left.
        Each value is worked out once a row: Postgres makes no query with a CTE one with the query
        around it, which would copy an expression to wherever it is read. A filter on the day still
        gets through, and parallel workers do all of it, which they don't in a lateral join. -#}
    {%- set declared, types = landed_table(table), {} -%}
    {%- for name, column in declared.columns.items() -%}
        {#- text that names a thing: the key, and what is called …_id -#}
        {%- do types.update({name: 'id' if column.data_type == 'text' and (name in declared.meta.key or name.endswith('_id')) else column.data_type}) -%}
    {%- endfor -%}
    {%- set lineage = ['_extra', '_day', '_batch_id', '_source_file', '_source_row'] %}
    select
        {%- for name in types %}
        checked.{{ name }},
        {%- endfor %}
        case when checked._extra = '"forgotten"' then '{forgotten}' else checked._errors end as _errors,
        case when {{ keep_landed }} then to_jsonb(checked._record) - array['_loaded_at', '_day', '_batch_id', '_source_file', '_source_row'] end as _landed,
        checked.{{ lineage | join(', checked.') }}
    from (
        with fenced as (
            select
                typed.*,
                array_remove(
                    array[
                        {%- for name, type in types.items() %}
                        {%- set landed = '(typed._record).' ~ name %}
                        {%- if type != 'text' %}
                        case
                            when typed.{{ name }} is null and {{ has_text(landed) }}{% if type == 'jsonb' %} and btrim({{ landed }}) <> 'null'{% endif %} then '{{ name }}_invalid'
                            {%- if name in arrays %}
                            when jsonb_typeof(typed.{{ name }}) <> 'array' then '{{ name }}_invalid'
                            {%- endif %}
                        end,
                        {%- endif %}
                        {%- if name in required %}
                        case when typed.{{ name }} is null and {{ has_text(landed) }} is not true then '{{ name }}_missing' end,
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
                        {%- for name, type in types.items() %}
                        {{ typed_value('landed.' ~ name, type) }} as {{ name }},
                        {%- endfor %}
                        landed as _record,
                        landed.{{ lineage | join(', landed.') }}
                    from {{ source('bronze', table) }} as landed
                )

                select * from cast_once
            ) as typed
        )

        select * from fenced
    ) as checked
{%- endmacro %}
