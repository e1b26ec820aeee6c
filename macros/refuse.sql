{% macro refuse_options() -%}
    {%- if execute and flags.EMPTY -%}
        {{ exceptions.raise_compiler_error('--empty would put empty views before the readers of ' ~ target.name ~ ': to see whether the SQL holds, use dbt compile, or dbt build without it and with --target dev.') }}
    {%- endif -%}
    {%- if execute and invocation_args_dict.favor_state -%}
        {{ exceptions.raise_compiler_error('--favor-state would read tables of another target of which this one has applied other days: --defer alone reads those that this target lacks.') }}
    {%- endif -%}
{%- endmacro %}


{% macro refuse_unready() -%}
    {#- Of a column that is not there yet Postgres says nothing of what makes it. -#}
    {% if execute and is_building() %}
        {% set declared = [] %}
        {% for table in graph.sources.values() if table.schema == 'bronze' %}
            {% for column in table.columns %}{% do declared.append("('" ~ table.name ~ "', '" ~ column ~ "')") %}{% endfor %}
        {% endfor %}
        {% set lacking %}
            select string_agg(name || '.' || attribute, ', ') as columns
            from (values {{ declared | join(', ') }}) as declared (name, attribute)
            where not exists (select from pg_attribute where attrelid = to_regclass('bronze.' || name) and attname = attribute)
        {% endset %}
        {% set columns = run_query(lacking).columns[0].values()[0] %}
        {% if columns %}
            {{ exceptions.raise_compiler_error('Declared and not in the warehouse: ' ~ columns | truncate(200) ~ '. To make what is declared, run: daybook warehouse migrate') }}
        {% endif %}
    {% endif %}
{%- endmacro %}


{% macro refuse_other_key() -%}
    {#- Records are judged by the declared key; silver is written by its model's, which a unique index
        holds. Where they differ both would be wrong, and only some data would show it. -#}
    {% if execute and is_building() %}
        {% set models = [] %}
        {% for node in graph.nodes.values() if node.config.meta.records == 'int_' ~ node.name ~ '_records' %}
            {% set key, declared = quoted(node.config.unique_key) | sort | join(', '), [] %}
            {% for table in node.config.meta.tables %}{% do declared.append(quoted(landed_table(table).meta.key) | sort | join(', ')) %}{% endfor %}
            {% if key not in declared %}
                {{ exceptions.raise_compiler_error('silver.' ~ node.name ~ ' has the key ' ~ key ~ ', and the sources file declares ' ~ declared | unique | join(' or ') ~ ': name the same columns in both.') }}
            {% endif %}
            {% do models.append("('" ~ node.relation_name | replace("'", "''") ~ "', '" ~ node.schema ~ '.' ~ node.name ~ "', '" ~ key ~ "', '" ~ node.config.meta.pipeline ~ "')") %}
        {% endfor %}
        {% set held_otherwise %}
            select model.name, model.key, model.pipeline
            from (values {{ models | join(', ') }}) as model (relation, name, key, pipeline)
            inner join pg_index on indrelid = to_regclass(model.relation) and indisunique
            group by model.name, model.key, model.pipeline
            having not bool_or(model.key = {{ columns_of_index() }})
        {% endset %}
        {% for row in run_query(held_otherwise).rows %}
            {{ exceptions.raise_compiler_error(row.name ~ ' is held by another key than ' ~ row.key ~ ': drop table ' ~ row.name ~ ' cascade, then run: dbt build --full-refresh --select tag:' ~ row.pipeline) }}
        {% endfor %}
    {% endif %}
{%- endmacro %}


{% macro refuse_other_type() -%}
    {#- A table keeps the types that it was made with. Of another one Postgres says that, and not what to do. -#}
    {% if execute and is_building() %}
        {% set declared = [] %}
        {% for node in graph.nodes.values() if node.config.meta.records == 'int_' ~ node.name ~ '_records' %}
            {% set records = graph.nodes['model.' ~ node.package_name ~ '.' ~ node.config.meta.records] %}
            {% for table in node.config.meta.tables %}
                {% for column in landed_table(table).columns.values() %}
                    {% do declared.append("('" ~ [records.schema, records.name, node.schema ~ '.' ~ node.name, column.name, column.data_type] | join("', '") ~ "')") %}
                {% endfor %}
            {% endfor %}
        {% endfor %}
        {% set held_otherwise %}
            select model.*, format_type(atttypid, null) as held
            from (values {{ declared | join(', ') }}) as model (schema, records, silver, attribute, type)
            inner join pg_attribute on attrelid = to_regclass(format('%I.%I', schema, records)) and attname = attribute and atttypid <> to_regtype(type)
        {% endset %}
        {% for row in run_query(held_otherwise).rows %}
            {% set records, expired = row.schema ~ '.' ~ row.records, expired_days() %}
            {% set first = 'land the days again that have expired (' ~ expired ~ '), then ' if expired else '' %}
            {{ exceptions.raise_compiler_error(records ~ ' holds ' ~ row.attribute ~ ' as ' ~ row.held ~ ', and the sources file declares ' ~ row.type ~ ': ' ~ first ~ 'drop table if exists ' ~ records ~ ', ' ~ row.silver ~ ' cascade, then run: dbt build --full-refresh --select +' ~ row.records ~ '+') }}
        {% endfor %}
    {% endif %}
{%- endmacro %}


{% macro refuse_other_day() -%}
    {#- Of no day a build would take in nothing, and say that all is well. -#}
    {% if execute and is_building() %}
        {% set asked %}
            select
                setting,
                -- a run says day1 as its date
                case calendar.kind
                    when 'dated' then setting like 'day%'
                    when 'numbered' then setting not like 'day%' and setting not between '1970-01-02' and '1997-05-18'
                end as is_of_other_calendar,
                not (
                    setting ~ '^day[1-9][0-9]{0,3}$'
                    or setting ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' and pg_input_is_valid(setting, 'date')
                ) as is_no_day
            from current_setting('app.day', true) as app (setting)
            left join {{ source('ledger', 'calendar') }} as calendar on true
            where setting <> ''
        {% endset %}
        {% for row in run_query(asked).rows if row.is_no_day or row.is_of_other_calendar %}
            {{ exceptions.raise_compiler_error('app.day is ' ~ row.setting ~ (': a day is 2026-01-05 or day1.' if row.is_no_day else ', and this warehouse holds days of the other calendar.')) }}
        {% endfor %}
    {% endif %}
{%- endmacro %}


{% macro refuse_without_expired_days() -%}
    {% if execute and flags.FULL_REFRESH and flags.WHICH in ('build', 'run') %}
        {% set days = expired_days() %}
        {% if days %}
            {{ exceptions.raise_compiler_error('A full refresh works on all landed days, and rows of these have expired (DAYBOOK_KEEP_DAYS): ' ~ days ~ '. Land them again first.') }}
        {% endif %}
    {% endif %}
{%- endmacro %}


{% macro expired_days() -%}
    {% set expired %}
        select string_agg(distinct {{ day_name('expired_days.day') }}, ', ') as days
        from bronze.expired_days
        where batch_id in (select max(batch_id) from bronze.load_batches where rows_landed is not null group by table_name, day)
    {% endset %}
    {{ return(run_query(expired).columns[0].values()[0]) }}
{%- endmacro %}
