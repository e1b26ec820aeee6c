{% macro unknown_errors(is_unknown_agent, is_unknown_group) -%}
    array_remove(
        array[
            case when {{ is_unknown_agent }} then 'unknown_agent' end,
            case when {{ is_unknown_group }} then 'unknown_group' end
        ],
        null
    )
{%- endmacro %}


{% macro newest_membership_file(batches) -%}
    {#- The newest file of memberships that counts once this build is done, by day and batch. A file
        that is gone from its day says nothing there, not even that nobody is a member. -#}
    select
        files.day,
        files.batch_id
    from (
        select distinct on (day)
            day,
            batch_id
        from (
            select
                day,
                batch_id
            from {{ batches }}
            where is_whole_day and in_scope
            union all
            select
                day,
                batch_id
            from {{ source('control', 'applied_batches') }}
            where model = 'group_memberships' and table_name = 'stg_group_memberships'
        ) as applied
        order by day asc, batch_id desc
    ) as files
    where files.batch_id in (
        select landed.batch_id from {{ source('ledger', 'load_batches') }} as landed
        where landed.status = 'succeeded'
    )
    order by files.day desc
    limit 1
{%- endmacro %}


{% macro forget_unknown_pairs() -%}
    {#- A pair of the newest snapshot is looked at again: once known, no record that names it stays
        in quarantine; until then each carries today's reasons. The record that counts is written anew. -#}
    {%- if relation_if_built(this.identifier, config.get('schema')) -%}
        with pairs as (

            select
                pairs.*,
                {{ unknown_errors('not is_known_agent', 'not is_known_group') }} as _errors
            from {{ ref('int_membership_pairs') }} as pairs

        ),

        forgotten as (

            delete from {{ this }} as held
            using pairs
            where held._errors && array['unknown_agent', 'unknown_group']
                and held.group_id = pairs.group_id::text
                and held.agent_id = pairs.agent_id::text
                and (
                    pairs._errors = '{}'
                    or (held._batch_id, held._source_file, held._source_row)
                    = (pairs._batch_id, pairs._source_file, pairs._source_row)
                )

        )

        update {{ this }} as held
        set _errors = pairs._errors
        from pairs
        where held._errors && array['unknown_agent', 'unknown_group']
            and held.group_id = pairs.group_id::text
            and held.agent_id = pairs.agent_id::text
            and (held._batch_id, held._source_file, held._source_row)
            <> (pairs._batch_id, pairs._source_file, pairs._source_row)
            and pairs._errors <> '{}'
            and held._errors <> pairs._errors
    {%- endif -%}
{%- endmacro %}


{% macro membership_outcomes(written) -%}
    {#- Units of this build's batches, and the pairs that earlier batches claimed and that are known only now. -#}
    select
        units._batch_id,
        case
            when units.judgement in ('invalid', 'unknown') then 'quarantined'
            when units.judgement <> 'winner' then units.judgement
            when written.group_id is not null then 'inserted'
            else 'unchanged'
        end as outcome,
        count(*) as records
    from {{ ref('int_membership_outcomes') }} as units
    left join {{ written }} as written
        on units.group_id = written.group_id
        and units.agent_id = written.agent_id
        and units.judgement = 'winner'
    group by 1, 2
    union all
    select
        written._batch_id,
        'released' as outcome,
        count(*) as records
    from {{ written }} as written
    where not exists (
        select 1 from {{ ref('int_membership_outcomes') }} as units
        where units._batch_id = written._batch_id
    )
    group by 1
{%- endmacro %}
