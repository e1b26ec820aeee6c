{% macro get_incremental_by_batch_sql(arg_dict) -%}
    {#- Records by batch: what a pending batch brings takes the place of all that its table and day
        said before, and what held records of other days come to is written anew with it. A model of
        `records` says itself what its select takes the place of. -#}
    {%- set meta, work = model.config.meta or {}, plan() -%}
    {%- if not meta.tables -%}
        {{ exceptions.raise_compiler_error("the strategy by_batch needs config(meta={'tables': [the landed tables that " ~ model.name ~ " takes in]})") }}
    {%- endif -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='quoted') | join(', ') -%}
    {%- set place = ['_source_table', '_day', '_source_file', '_source_row'] + (meta.place or []) -%}

delete from {{ this }} as held
where {{ work.is_replaced }};
{%- if work.has_later %}

delete from {{ this }} as held
using {{ arg_dict.temp_relation }} as judged
where {{ columns_of('held', place) }} = {{ columns_of('judged', place) }}
    and held._day >= '{{ work.since }}';
{%- endif %}

insert into {{ this }} ({{ columns }})
select {{ columns }} from {{ arg_dict.temp_relation }}
{%- endmacro %}
