{% macro position(order, record) -%}
    {#- Last write wins: what makes one record later than another, as a row to compare. -#}
    (
        {%- for column in order + (['_day', '_source_file', '_source_row'] | reject('in', order) | list) %}
        {%- set value = record ~ '.' ~ column %}
        {%- if column in ('updated_at', 'updated_time') %}coalesce({{ value }}, '-infinity')
        {%- elif column == '_source_file' %}{{ value }} collate "C"
        {%- else %}{{ value }}
        {%- endif %}{% if not loop.last %}, {% endif %}
        {%- endfor -%}
    )
{%- endmacro %}


{% macro newest_first(order, record) -%}
    {#- The same order for a window, the newest record first. -#}
    {%- for column in order + (['_day', '_source_file', '_source_row'] | reject('in', order) | list) %}
    {{ record }}.{{ column }}{% if column == '_source_file' %} collate "C"{% endif %} desc nulls last
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
{%- endmacro %}
