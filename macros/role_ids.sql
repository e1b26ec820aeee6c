{% macro role_ids(list) -%}
    {#- The ids in a list of roles, once each and in order; what is no id is none. -#}
    array(
        select distinct ids.id::bigint
        from jsonb_array_elements_text({{ list }}) as ids (id)
        where ids.id ~ '^-?[0-9]+$' and pg_input_is_valid(ids.id, 'bigint')
        order by 1
    )
{%- endmacro %}
