{% macro get_incremental_mirror_sql(arg_dict) -%}
    {#- The model selects all that should be there: what is missing is inserted, what differs
        updated, what is gone deleted, and equal rows are left alone, so that readers see the
        table whole at every moment and views on it stay. With a `scope` the model selects, and
        replaces, what belongs to the `scope_key`s that this relation lists. -#}
    {%- set this = arg_dict.target_relation -%}
    {%- set wanted = arg_dict.temp_relation -%}
    {%- set meta = config.get('meta') -%}
    {%- set key = [arg_dict.unique_key] if arg_dict.unique_key is string else arg_dict.unique_key -%}
    {%- set columns = arg_dict.dest_columns | map(attribute='name') | list -%}
    {%- set values = [] -%}
    {%- for column in columns if column not in key and not column.startswith('_') -%}
        {%- do values.append(column) -%}
    {%- endfor -%}

with deleted as (

    delete from {{ this }} as held
    where not exists (
        select 1 from {{ wanted }} as wanted
        where {{ columns_of('wanted', key) }} = {{ columns_of('held', key) }}
    )
    {%- if meta.scope %}
    and held.{{ meta.scope_key }} in (select scope.{{ meta.scope_key }} from {{ ref(meta.scope) }} as scope)
    {%- endif %}
    returning {{ snapshot_day(meta) }} as _day

),

written as (

    insert into {{ this }} as held ({{ columns | join(', ') }})
    select {{ columns_of('wanted', columns, bare=true) }}
    from {{ wanted }} as wanted
    left join {{ this }} as there on {{ columns_of('wanted', key) }} = {{ columns_of('there', key) }}
    -- on conflict locks, and so writes, every row that it meets: equal ones must not get there
    where there.{{ key[0] }} is null
    {%- if values %}
        or {{ columns_of('there', values) }} is distinct from {{ columns_of('wanted', values) }}
    {%- endif %}
    {% if values -%}
    on conflict ({{ key | join(', ') }}) do update set
        {{ excluded_columns(columns, key) }}
    where {{ columns_of('held', values) }} is distinct from {{ columns_of('excluded', values) }}
    {%- else -%}
    on conflict ({{ key | join(', ') }}) do nothing
    {%- endif %}
    returning held.*, held.xmax = 0 as _is_new

),

{{ account_mirror(meta, wanted) }}
{%- endmacro %}


{% macro account_first_mirror() -%}
    {%- set meta = config.get('meta') -%}
    {%- do ref('int_batches') -%}
    {%- do source('control', 'pipeline_metrics') -%}
    {%- if execute and not is_incremental() %}
analyze {{ this }};

with deleted as (select null::date as _day where false),

written as (

    select
        held.*,
        true as _is_new
    from {{ this }} as held

),

{{ account_mirror(meta, this) }}
    {%- endif %}
{%- endmacro %}


{% macro snapshot_day(meta) -%}
    (select max(day) from {{ ref('int_batches') }} where table_name = '{{ meta.tables[0] }}' and is_whole_day)
{%- endmacro %}


{% macro account_mirror(meta, wanted) -%}
    {%- if meta.outcomes -%}
outcomes as (

    {{ context[meta.outcomes]('written') }}

),

{{ record_outcomes(meta, work_plan(model.name, meta.tables)) }}
    {%- else -%}
counted as (

    select
        count(*) filter (where _is_new) as inserted,
        count(*) filter (where not _is_new) as updated,
        (select count(*) from deleted) as deleted,
        (select count(*) from {{ wanted }}) as wanted
    from written

)

insert into {{ source('control', 'pipeline_metrics') }} (
    flow_run_id, task_name, pipeline_name, table_name, day, rows_inserted, rows_updated, rows_deleted, rows_unchanged,
    status, started_at, finished_at, duration_seconds
)
select
    {{ run_id() }},
    '{{ model.name }}',
    '{{ meta.pipeline }}',
    '{{ model.name }}',
    coalesce({{ app_day() }}, {{ snapshot_day(meta) }}),
    inserted,
    updated,
    deleted,
    wanted - inserted - updated,
    'success',
    current_setting('daybook.started')::timestamptz,
    clock_timestamp(),
    greatest(extract(epoch from clock_timestamp() - current_setting('daybook.started')::timestamptz), 0.000001)
from counted
    {%- endif -%}
{%- endmacro %}
