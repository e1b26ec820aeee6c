{% macro forget_pending(model, tables, table_column='_source_table', day_column='_day') -%}
    {#- A batch that is applied takes the place of all that its table and day said before. -#}
    {%- set plan = work_plan(model, tables) -%}
    {%- if relation_if_built(this.identifier, config.get('schema')) -%}
        delete from {{ this }} as held
        using (
            {{ pending_batches(model, tables, plan.rebuild) }}
        ) as pending
        where held.{{ table_column }} = pending.table_name and held.{{ day_column }} = pending.day
    {%- endif -%}
{%- endmacro %}


{% macro quarantined(pending, table) -%}
    {#- The invalid records of this build, whole: the text of each landed column and the reasons. -#}
    select
        {%- for name in landed_columns(table) %}
        _landed ->> '{{ name }}' as {{ name }},
        {%- endfor %}
        _errors,
        _extra,
        _source_table,
        _day,
        _batch_id,
        _source_file,
        _source_row,
        clock_timestamp() as _updated_at
    from {{ pending }}
    where not _is_valid
{%- endmacro %}


{% macro forget_rechecked(pending) -%}
    {#- What was said of the records that this build looks at: they come back if they still fail. -#}
    {%- if relation_if_built(this.identifier, config.get('schema')) -%}
        delete from {{ this }} as held
        using {{ pending }} as pending
        where held._batch_id = pending._batch_id
            and held._source_file = pending._source_file
            and held._source_row = pending._source_row
    {%- endif -%}
{%- endmacro %}
