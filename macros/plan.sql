{#- What a build has to do is found by comparing batches: what has landed with what
    int_<entity>_records took in, and that with what silver applied. Days and batches stand in
    the SQL as literals, so that `dbt compile` shows what a build will run and Postgres prunes
    partitions while it plans. -#}

{% macro plan(again='', mark='') -%}
    {#- The work of this model. `again`: SQL on `held`, the applied batches, for those to work out
        anew as something that no batch brings has changed; `mark`: SQL of a number that stands for
        it, see `mark_changed`. A model that has them asks for its plan, with them, first.
          pending        rows (table_name, day, batch_id, …): batches to apply, oldest first
          new, again     ids of those that the model does not hold, and that it works out anew
          gone           ids of the batches of which rows here are worked out anew
          takes_batches  whether there may be some: of records, or of models with config.meta.records
          is_first       whether there is no table yet
          whole          whether all is worked out anew: a full refresh, or a first build
          since          the first pending day
          has_earlier    whether days before that are applied
          has_later      whether days from that on are applied, beside the pending ones
          days           SQL: the pending days, as an array
          is_pending     SQL: whether a landed row, or its record, is of a new batch
          is_replaced    SQL: whether the record `held` makes way for a pending batch
          covered        set by a model whose select speaks for more than its rows: SQL of the held
                         ones for which it does, deleted where it does not bring them
        Made once a build and model: what its hooks note as applied is what its SQL selects. -#}
    {#- a unit test has no graph -#}
    {%- set node = (graph.nodes or {}).get(model.unique_id, {}) if execute else {} -%}
    {%- if node.planned_by != invocation_id -%}
        {%- set meta = model.config.meta or {} -%}
        {%- set is_first = not is_incremental() -%}
        {%- set whole = is_first or flags.FULL_REFRESH -%}
        {%- set takes_batches = meta.records or model.config.incremental_strategy == 'by_batch' -%}
        {%- set is_asked = execute and takes_batches and not flags.EMPTY and model.resource_type == 'model' -%}
        {%- set found = run_query(batches_to_apply(meta, whole, again)).rows if is_asked else [] -%}
        {%- for row in found if row.refusal and is_building() -%}
            {{ exceptions.raise_compiler_error(row.refusal) }}
        {%- endfor -%}
        {%- set pending = found | selectattr('batch_id') | list -%}
        {%- set first = pending[0] or {} -%}
        {%- set days = array_of(pending | map(attribute='day') | unique, 'date') -%}
        {%- set new = pending | rejectattr('is_again') | map(attribute='batch_id') | list -%}
        {%- set places = array_of(pending | map(attribute='table_name'), 'text') ~ ', ' ~ array_of(pending | map(attribute='day'), 'date') -%}
        {%- do node.update({'planned_by': invocation_id, 'plan': {
            'pending': pending,
            'new': new,
            'again': pending | selectattr('is_again') | map(attribute='batch_id') | list,
            'gone': pending | map(attribute='held_batch_id') | reject('none') | list,
            'takes_batches': takes_batches,
            'is_first': is_first,
            'whole': whole,
            'mark': mark,
            'since': first.day,
            'has_earlier': first.has_earlier,
            'has_later': first.has_later,
            'days': days,
            'is_pending': '_day = any(' ~ array_of(pending | rejectattr('is_again') | map(attribute='day') | unique, 'date') ~ ') and _batch_id = any(' ~ array_of(new, 'bigint') ~ ')',
            'is_replaced': 'true' if whole else 
                '(held._day = any(' ~ days ~ ') and (held._source_table, held._day) in (select * from unnest(' ~ places ~ ')))',
        }}) -%}
    {%- endif -%}
    {{ return(node.plan) }}
{%- endmacro %}
