{% macro first_unit(unit) -%}
    {#- Which of a day's units for the same pair counts: the list before the file, the newest
        list first, its first element first. -#}
    {{ unit }}.list_rank > 1 asc,
    {{ unit }}._source_table = 'stg_groups' desc,
    {{ unit }}.list_rank asc,
    {{ unit }}._source_file collate "C" desc,
    {{ unit }}._source_row desc,
    {{ unit }}._source_position asc
{%- endmacro %}
