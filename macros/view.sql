{#- A view that a build renames and drops takes the views of its readers with it: replaced in
    place, it keeps them, its grants and its oid. -#}
{% materialization view, adapter='postgres' -%}
    {%- set held = load_cached_relation(this) -%}
    {%- set relation = this.incorporate(type='view') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if held is not none and not held.is_view %}
        {% do adapter.drop_relation(held) %}
    {%- endif %}

    {% call statement('main') -%}
        {{ get_create_view_as_sql(relation, sql) | replace('create view', 'create or replace view', 1) }}
    {%- endcall %}

    {% do apply_grants(relation, config.get('grants'), should_revoke=should_revoke(held, full_refresh_mode=True)) %}
    {% do persist_docs(relation, model) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [relation]}) }}
{%- endmaterialization %}
