{% macro prepare_target() -%}
    {#- Another target's silver has applied other batches: it keeps its own control tables. -#}
    {% if execute and target.name not in ('embedded', 'prod') and flags.WHICH in ('build', 'run', 'seed', 'test', 'snapshot') %}
        {% set schema = adapter.quote(generate_schema_name('metrics', none)) %}
        create schema if not exists {{ schema }};
        {% for name in ['applied_batches', 'pipeline_metrics'] %}
        create table if not exists {{ schema }}.{{ name }} (like metrics.{{ name }} including all);
        {% endfor %}
        {#- With --defer a table that this target lacks is read from another: what that has applied comes along (a first build of its own deletes it). -#}
        {% for node in graph.nodes.values() if node.defer_relation and node.config.schema and node.config.materialized == 'incremental' and not adapter.get_relation(node.database, node.schema, node.alias) %}
        {% set other = adapter.quote(node.defer_relation.schema[:-(node.config.schema | length)] ~ 'metrics') %}
        delete from {{ schema }}.applied_batches where model = '{{ node.name }}';
        insert into {{ schema }}.applied_batches select * from {{ other }}.applied_batches where model = '{{ node.name }}';
        {% endfor %}
        {#- a clone's seeds are views, which dbt does not seed -#}
        {% for seed in graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed') %}
        {% set cloned = adapter.get_relation(seed.database, seed.schema, seed.alias) %}
        {% if cloned and cloned.is_view %}{% do adapter.drop_relation(cloned) %}{% endif %}
        {% endfor %}
    {% endif %}
{%- endmacro %}


{#- Each model commits by itself: whoever joins tables while a build is at work may see a mix of days.
    metrics.current_day says when it is none. -#}

{% macro begin_day() -%}
    {#- Committed before the first model of a build that may write one of the tables: not of one by hand
        while a run holds the warehouse, whose models are refused. -#}
    {%- if is_building() and tables_of_day() | select('in', selected_resources) | list %}
    insert into metrics.current_day (flow_run_id, is_complete)
    select {{ run_id() }}, false {{ 'where pg_try_advisory_xact_lock_shared(1684109666)' if is_by_hand() }}
    on conflict ("only") do update set flow_run_id = excluded.flow_run_id, is_complete = false, changed_at = clock_timestamp()
    {%- endif %}
{%- endmacro %}


{% macro end_day(results) -%}
    {#- After the last, where this build, and no other meanwhile, has been through all of them. -#}
    {%- set built = results | selectattr('status', 'equalto', 'success') | map(attribute='node.unique_id') | list -%}
    {%- if is_building() and tables_of_day() and not tables_of_day() | reject('in', built) | list %}
    update metrics.current_day set
        day = (select max(applied.day) from metrics.applied_batches as applied),
        is_complete = true,
        changed_at = clock_timestamp()
    where flow_run_id = {{ run_id() }}
    {%- endif %}
{%- endmacro %}


{% macro tables_of_day() -%}
    {#- None of another target: it is nobody else's. -#}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') if target.name in ('embedded', 'prod') else [] -%}
    {%- set tables = models | selectattr('fqn.1', 'in', ['silver', 'metrics', 'marts']) | rejectattr('config.materialized', 'equalto', 'view') -%}
    {{ return(tables | map(attribute='unique_id') | list) }}
{%- endmacro %}


{% macro record_failures(results) -%}
    {#- Failure rows for failed nodes. A message may quote data, of several lines and with quotes in it:
        what stands in quotes is left out, but for a name, and so are statement and details; all from a quote
        on that is not closed, as a value may have the word DETAIL: too. -#}
    {%- if execute and flags.WHICH in ('build', 'run', 'seed', 'test') %}
        {%- for result in results if result.status in ('error', 'fail', 'runtime error') %}
        {%- set meta = (result.node.config.meta if result.node.config else {}) or {} %}
        {%- set tables = meta.tables or ([result.node.name] if meta.pipeline else []) %}
        {%- set pending = ((graph.nodes.get(result.node.unique_id) or {}).plan or {}).pending or [] %}
        {%- set message = modules.re.split('\\s(?:LINE \\d+|DETAIL|CONTEXT):', (result.message or 'failed') | string)[0] | trim %}
        {%- set message = modules.re.sub('(relation|constraint|column|function) "([\\w.]+)"', '\\1 \\2', message) %}
        {%- set message = modules.re.sub("(?s)'[^']*'|\".*\"(?=\\s|$)|\".*", '…', message) %}
        insert into {{ source('control', 'pipeline_metrics') }} (
            flow_run_id, task_name, pipeline_name, table_name, day, status, error_message, started_at, finished_at, duration_seconds
        )
        select
            {{ run_id() }}, '{{ result.node.name }}', '{{ meta.pipeline or result.node.resource_type }}',
            {% if tables %}'{{ tables[0] }}'{% else %}null{% endif %},
            coalesce({{ app_day() }}, {{ "date '" ~ pending[-1].day ~ "'," if pending }} (select max(applied.day) from {{ source('control', 'applied_batches') }} as applied)),
            'failure', '{{ message[:2000] | replace("'", "''") }}',
            clock_timestamp() - interval '{{ result.execution_time }} seconds', clock_timestamp(), greatest({{ result.execution_time }}, 0.000001);
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
