{#- Winners by key, outcomes by day: what a record came to depends on the records of its key of its
    own and earlier days alone, so days may come in any order. -#}

{% macro judge(records, table, last_write='0.0', within_day='_position desc', loses='false') -%}
    {#- The records of pending batches with each one's `_outcome`, and those held records of other days
        whose outcome may change with them: what that was is `_outcome_before`. -#}
    {%- set work, declared = plan(), landed_table(table) -%}
    {%- set key, values = quoted(declared.meta.key) | join(', '), quoted(declared.columns | reject('in', declared.meta.key)) | join(', ') -%}
    {#- as the YAML beside the model names them: the table may lack one, or still have one that is gone -#}
    {%- set columns = model.columns | reject('in', ['_outcome', '_hash', '_updated_at']) | list -%}
    {%- set position = "coalesce(" ~ last_write ~ ", '-infinity')" -%}
    select
        placed.*,
        case
            when not _is_valid then 'quarantined'
            when not _counts then 'duplicate'
            when _position < _best_before[1] then 'stale'
            when _best_before is null then 'inserted'
            when _best_before[3] = _hash then 'unchanged'
            else 'updated'
        end as _outcome
    from (
        select
            ranked.*,
            -- the last write of the days before: the highest position, of equals the latest day
            greatest(
                max(array[_position, _day - date '1970-01-01', _hash]) filter (where _counts) over earlier,
                _best_held
            ) as _best_before
        from (
            select
                contenders.*,
                {{ 'null::numeric [] as _best_held' if work.whole else 'before._best_held' }},
                contenders._is_valid and not {{ loses }} and row_number() over this_day = 1 as _counts
            from (
                select
                    {{ quoted(columns) | join(', ') if work.has_later else 'records.*' }},
                    {{ 'hash_record_extended(row(' ~ values ~ '), 0)' if values else '0::bigint' }} as _hash,
                    {{ position }} as _position,
                    cardinality(_errors) = 0 as _is_valid,
                    null::text as _outcome_before
                from {{ records }} as records
                {%- if work.has_later %}
                union all
                select {{ held_columns(columns) }}, _hash, {{ position }}, true, _outcome
                from {{ this }} as held
                where _day >= '{{ work.since }}'
                    and _outcome <> 'quarantined'
                    and not {{ work.is_replaced }}
                    and ({{ key }}) in (
                        select {{ key }} from {{ records }} where cardinality(_errors) = 0
                        union
                        select {{ key }} from {{ this }} as held where _outcome <> 'quarantined' and {{ work.is_replaced }}
                    )
                {%- endif %}
            ) as contenders
            {%- if not work.whole %}
            -- what had won before the first day that changes: one look-up by key
            left join lateral (
                select array[{{ position }}, _day - date '1970-01-01', _hash] as _best_held
                from {{ this }} as held
                where {{ columns_of('held', declared.meta.key) }} = {{ columns_of('contenders', declared.meta.key) }}
                    and _day < '{{ work.since }}'
                    and _outcome in ('inserted', 'updated', 'unchanged')
                order by _day desc
                limit 1
            ) as before on contenders._is_valid
            {%- endif %}
            window this_day as (
                partition by _is_valid, {{ key }}, _day
                order by {{ within_day }}, _source_file collate "C" desc, _source_row desc
            )
        ) as ranked
        window earlier as (partition by _is_valid, {{ key }} order by _day rows between unbounded preceding and 1 preceding)
    ) as placed
{%- endmacro %}


{% macro held_columns(names) -%}
    {#- Of {{ this }}: null where it has yet to gain one, which the model selects already. -#}
    {%- set held = adapter.get_columns_in_relation(this) | map(attribute='quoted') | list if execute else [] -%}
    {%- for name in quoted(names) %}{{ 'null as ' if name not in held }}{{ name }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro %}
