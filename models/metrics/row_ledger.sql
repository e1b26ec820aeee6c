-- What each day brought beside the days before it: a query over the outcomes of the records that
-- silver has applied. A batch that landed again counts once it is applied; until then its day shows
-- nothing rather than figures of a batch that is gone. A build of some pipelines alone has a ledger
-- of those.

{{ config(materialized='view', tags=var('entities') | reject('in', ['group_memberships', 'fx_rates']) | list + ['metrics']) }}

{% set of_lists = "applied.model = 'group_memberships' and applied.table_name = 'stg_groups'" %}

{% set built = [] %}
{% for target in var('entities') %}
{% set records = ref('int_' ~ target ~ '_records') %}
{% if not execute or load_relation(records) %}{% do built.append((target, records)) %}{% endif %}
{% endfor %}

with applied as (

    select * from {{ source('control', 'applied_batches') }}
    where model in ('{{ built | map(attribute=0) | join("', '") }}')

),

batches as (

    select * from {{ source('ledger', 'load_batches') }}

),

records as (

    select
        null as target,
        null as _source_table,
        null::date as _day,
        null::bigint as _batch_id,
        null as _outcome
    {%- for target, relation in built %}
    union all
    select
        '{{ target }}' as target,
        _source_table,
        _day,
        _batch_id,
        _outcome
    from {{ relation }}
    {%- endfor %}

),

counted as (

    select
        applied.day,
        applied.table_name,
        applied.model as target,
        -- the unit of a list is its element, not a record
        case when {{ of_lists }} then outcomes.rows_landed else batches.rows_in_files end as rows_in_files,
        case when {{ of_lists }} then 0 else batches.rows_rejected end as rows_rejected,
        case when {{ of_lists }} then outcomes.rows_landed else batches.rows_landed end as rows_landed,
        outcomes.rows_inserted,
        outcomes.rows_updated,
        outcomes.rows_unchanged,
        outcomes.rows_stale,
        outcomes.rows_duplicate,
        outcomes.rows_quarantined
    from applied
    -- what a day no longer has it has not brought
    inner join batches on applied.batch_id = batches.batch_id and batches.status = 'succeeded'
    -- day by day: a question of one day reads that day's records alone
    cross join
        lateral (
            select
                count(records._outcome) as rows_landed,
                {%- for outcome in ['inserted', 'updated', 'unchanged', 'stale', 'duplicate', 'quarantined'] %}
                count(*) filter (where records._outcome = '{{ outcome }}') as rows_{{ outcome }}{% if not loop.last %},{% endif %}
                {%- endfor %}
            from records
            where records.target = applied.model
                and records._day = applied.day
                and records._source_table = applied.table_name
                and records._batch_id = applied.batch_id
        ) as outcomes
    -- a batch of which only the newest counts
    where not exists (
        select 1 from batches as newer
        where newer.table_name = applied.table_name
            and newer.day = applied.day
            and newer.batch_id > applied.batch_id
            and newer.status in ('succeeded', 'skipped')
            and newer.rows_landed is not null
    )

)

select
    *,
    coalesce(
        rows_in_files = rows_landed + rows_rejected
        and rows_landed = rows_inserted + rows_updated + rows_unchanged + rows_stale + rows_duplicate + rows_quarantined,
        false
    ) as balanced,
    {{ day_name('day') }} as day_name
from counted
