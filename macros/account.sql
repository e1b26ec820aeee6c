{% macro refuse_unless_whole(meta, plan) -%}
    {#- What was typed earlier in this build must still be what is landed now. -#}
{%- if not meta.units %}
do $$
begin
    if exists (
        select 1 from {{ ref('int_batches') }} as batches
        where batches.batch_id = any('{ {{- plan.pending | join(', ') -}} }'::bigint [])
            and batches.rows_landed <> (
                select count(*) from {{ ref(meta.pending) }} as pending where pending._batch_id = batches.batch_id
            )
    ) then
        raise exception 'the landed rows of % changed while this build ran: build again, with everything it needs (dbt build --select +{{ model.name }})',
            '{{ meta.tables | join(", ") }}';
    end if;
end
$$;
{%- endif %}
{%- endmacro %}


{% macro account(meta, plan) -%}
    {#- Follows the CTEs `decided` (_batch_id, _is_new, _differs, _beats; one row a winner) and
        `deleted` (_day). Gives every pending record its one disposition, each counted on its
        own, records the batches as applied and writes the metrics: one statement, so that they
        exist only if the rows do. -#}
outcomes as (

    select
        _batch_id,
        case
            when _is_new then 'inserted'
            when not _beats then 'stale'
            when _differs then 'updated'
            else 'unchanged'
        end as outcome,
        count(*) as records
    from decided
    group by 1, 2
    union all
    select
        _batch_id,
        case
            when not _is_valid then 'quarantined'
            when _day_rank > 1 then 'duplicate'
            else 'stale'
        end as outcome,
        count(*) as records
    from {{ ref(meta.pending) }}
    where _is_pending and not (_is_valid and _rank = 1)
    group by 1, 2

),

{{ record_outcomes(meta, plan) }}
{%- endmacro %}
