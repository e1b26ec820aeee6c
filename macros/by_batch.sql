{% macro get_incremental_by_batch_sql(arg_dict) -%}
    {#- Records by batch: what a pending batch brings takes the place of all that its table and day
        said before, and what held records of other days come to is written anew with it. -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set meta = model.config.meta or {} -%}
    {%- if not meta.tables -%}
        {{ exceptions.raise_compiler_error("the strategy by_batch needs config(meta={'tables': [the landed tables that " ~ model.name ~ " takes in]})") }}
    {%- endif -%}
    {%- set work = plan() -%}
    {%- do work.update({'is_written': true}) -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='quoted') | join(', ') -%}
    {%- set place = ['_source_table', '_day', '_source_file', '_source_row'] + (meta.place or []) -%}

-- of two builds by hand the second takes the place of what the first brought
lock table {{ this }} in share row exclusive mode;

with judged {% if work.has_later %}as materialized{% else %}as{% endif %} (
    select * from {{ arg_dict.temp_relation }}
),

replaced as (
    delete from {{ this }} as held
    where {{ in_pending_days(work) }}
)
{%- if work.has_later %},

judged_anew as (
    delete from {{ this }} as held
    using judged
    where {{ columns_of('held', place) }} = {{ columns_of('judged', place) }}
        and held._day >= '{{ work.since }}'
        and not {{ in_pending_days(work) }}
)
{%- endif %}

insert into {{ this }} ({{ columns }})
select {{ columns }} from judged
{%- endmacro %}
