{#- Winners by key, outcomes by day: what a record came to depends on the records of its key of its
    own and earlier days alone, so days may come in any order. -#}

{% macro judge(records, key, values, work, last_write='0::float8', within_day='', loses='false') -%}
    {#- The CTE `records` of pending batches with each record's `_outcome`, and those held records
        of other days whose outcome changes with them. `key`: its columns; `values`: those that
        make a record differ from another; `last_write`: what is higher in a later record;
        `within_day`: which of a key's records of one day counts, where that alone does not say;
        `loses`: which never does, though valid. -#}
    {%- set many_days = work.has_later or work.pending | map(attribute='day') | unique | list | length > 1 -%}
    {%- set held_columns = adapter.get_columns_in_relation(this) | map(attribute='quoted') | reject('in', ['"_outcome"', '"_hash"', '"_updated_at"']) | join(', ') if execute and work.has_later -%}
    {%- set keys = key | join(', ') -%}
    {%- set position = "coalesce(" ~ last_write ~ ", '-infinity')" -%}
    {%- set hash_before = '_newest_hash[2]' if many_days else '_hash_before' if work.has_earlier else 'null' -%}
    select
        ranked.*,
        case
            when cardinality(_errors) > 0 then 'quarantined'
            when _day_rank > 1 or {{ loses }} then 'duplicate'
            {%- if many_days or work.has_earlier %}
            when _position < _position_before then 'stale'
            {%- endif %}
            when {{ hash_before }} is null then 'inserted'
            when {{ hash_before }} = _hash then 'unchanged'
            else 'updated'
        end as _outcome
    from (
        {%- if many_days %}
        select
            counted.*,
            -- the last record so far that won: days ascend, so the largest day has it
            greatest(
                max(array[_day - date '1970-01-01', _hash]::bigint []) filter (where _counts and _position >= coalesce(_position_before, '-infinity')) over earlier
                {%- if work.has_earlier %},
                case when _hash_before is not null then array[-1000000, _hash_before]::bigint [] end
                {%- endif %}
            ) as _newest_hash
        from (
            select
                placed.*,
                greatest(max(_position) filter (where _counts) over earlier{% if work.has_earlier %}, _held_position{% endif %}) as _position_before
            from (
        {%- endif %}
        select
            contenders.*,
            {%- if work.has_earlier %}
            before._position as {{ '_held_position' if many_days else '_position_before' }},
            before._hash as _hash_before,
            {%- endif %}
            row_number() over this_day as _day_rank,
            contenders._is_valid and not {{ loses }} and row_number() over this_day = 1 as _counts
        from (
            select
                {{ held_columns or 'records.*' }},
                {% if values %}hash_record_extended(row({{ values | join(', ') }}), 0){% else %}0::bigint{% endif %} as _hash,
                {{ position }} as _position,
                cardinality(_errors) = 0 as _is_valid,
                true as _is_pending,
                null::text as _outcome_before
            from {{ records }} as records
            {%- if work.has_later %}
            union all
            select
                {{ held_columns }},
                held._hash,
                {{ position }} as _position,
                true as _is_valid,
                false as _is_pending,
                held._outcome as _outcome_before
            from {{ this }} as held
            where held._day >= '{{ work.since }}'
                and held._outcome <> 'quarantined'
                and not {{ in_pending_days(work) }}
                and ({{ keys }}) in (
                    select {{ keys }} from {{ records }} where cardinality(_errors) = 0
                    union
                    select {{ keys }} from {{ this }} as held
                    where held._outcome <> 'quarantined' and {{ in_pending_days(work) }}
                )
            {%- endif %}
        ) as contenders
        {%- if work.has_earlier %}
        -- what had won before the first day that changes: one look-up by key
        left join lateral (
            select
                {{ position }} as _position,
                held._hash
            from {{ this }} as held
            where {% for column in key %}held.{{ column }} = contenders.{{ column }} and {% endfor %}held._day < '{{ work.since }}'
                and held._outcome in ('inserted', 'updated', 'unchanged')
            order by held._day desc
            limit 1
        ) as before on contenders._is_valid
        {%- endif %}
        window this_day as (
            partition by contenders._is_valid, {% for column in key %}contenders.{{ column }}, {% endfor %}contenders._day
            order by {{ within_day or 'contenders._position desc' }}, contenders._source_file collate "C" desc, contenders._source_row desc
        )
        {%- if many_days %}
            ) as placed
            window earlier as (partition by _is_valid, {{ keys }} order by _day rows between unbounded preceding and 1 preceding)
        ) as counted
        window earlier as (partition by _is_valid, {{ keys }} order by _day rows between unbounded preceding and 1 preceding)
        {%- endif %}
    ) as ranked
{%- endmacro %}
