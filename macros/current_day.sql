{#- Each model commits by itself: whoever joins tables while a build is at work may see a mix of days.
    metrics.current_day says when it is none. -#}

{% macro begin_day() -%}
    {#- Committed before the first model of a build that may write one of the tables. -#}
    {%- if is_building() and target.name in ('embedded', 'prod') and tables_of_day() | select('in', selected_resources) | list %}
    insert into metrics.current_day (flow_run_id, is_complete) values ({{ run_id() }}, false)
    on conflict ("only") do update set
        flow_run_id = excluded.flow_run_id,
        is_complete = false,
        changed_at = clock_timestamp()
    {%- endif %}
{%- endmacro %}


{% macro end_day(results) -%}
    {#- After the last, where this build, and no other meanwhile, has been through all of them. -#}
    {%- set built = results | selectattr('status', 'equalto', 'success') | map(attribute='node.unique_id') | list -%}
    {%- if is_building() and target.name in ('embedded', 'prod') and not tables_of_day() | reject('in', built) | list %}
    update metrics.current_day set
        day = (select max(applied.day) from metrics.applied_batches as applied),
        is_complete = true,
        changed_at = clock_timestamp()
    where flow_run_id = {{ run_id() }}
    {%- endif %}
{%- endmacro %}


{% macro tables_of_day() -%}
    {{ return(
        graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | selectattr('fqn.1', 'in', ['silver', 'metrics', 'marts'])
        | rejectattr('config.materialized', 'equalto', 'view') | map(attribute='unique_id') | list
    ) }}
{%- endmacro %}
