{% macro record_failures(results) -%}
    {#- Failure rows for failed nodes. A message may quote data: what stands in quotes or brackets is
        left out, but for the name of a relation. -#}
    {%- if execute and flags.WHICH in ('build', 'run', 'seed', 'test') %}
        {%- for result in results if result.status in ('error', 'fail', 'runtime error') %}
        {%- set meta = (result.node.config.meta if result.node.config else {}) or {} %}
        {%- set message = (result.message or 'failed') | string %}
        {%- set message = modules.re.sub('(relation|constraint|column|function) "(\\w+)"', '\\1 \\2', message) %}
        {%- set message = modules.re.sub("(?s)\\([^()]*\\)=\\([^()]*\\)|'[^']*'|\"[^\\n]*\"|(DETAIL|CONTEXT):.*?(?=\\n|$)|Failing row.*", '…', message) %}
        insert into {{ source('control', 'pipeline_metrics') }} (
            flow_run_id, task_name, pipeline_name, table_name, day, status, error_message, started_at, finished_at, duration_seconds
        )
        select
            {{ run_id() }},
            '{{ result.node.name }}',
            '{{ meta.pipeline or result.node.resource_type }}',
            {% if meta.tables %}'{{ meta.tables[0] }}'{% else %}null{% endif %},
            {{ app_day() }},
            'failure',
            '{{ (message[:2000]) | replace("'", "''") }}',
            clock_timestamp() - interval '{{ result.execution_time }} seconds',
            clock_timestamp(),
            greatest({{ result.execution_time }}, 0.000001);
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
