-- A batch that landed again counts once the models have applied it: until then the day shows
-- nothing rather than figures of a batch that is gone.

-- What it shows is written by the models below, without being read from them.
-- depends_on: {{ ref('agents') }}
-- depends_on: {{ ref('groups') }}
-- depends_on: {{ ref('group_memberships') }}
-- depends_on: {{ ref('transactions') }}
-- depends_on: {{ ref('roles') }}
-- depends_on: {{ ref('budgets') }}
-- depends_on: {{ ref('cards') }}
-- depends_on: {{ ref('fx_rates') }}

{{ config(materialized='view', tags=['agents', 'groups', 'transactions', 'roles', 'budgets', 'cards', 'metrics']) }}

with batches as (

    select distinct on (table_name, day) *
    from {{ source('ledger', 'load_batches') }}
    where status in ('succeeded', 'skipped') and rows_landed is not null
    order by table_name asc, day asc, batch_id desc

),

applied as (

    select * from {{ source('control', 'applied_batches') }}
    where model not like 'int\_%' and model not like '%:%'

),

-- The unit of a membership is an element of a list or a row of a file, not a record.
counted as (

    select
        applied.day,
        applied.table_name,
        applied.model as target,
        case when applied.model = 'group_memberships' then applied.rows_landed else batches.rows_in_files end as rows_in_files,
        case when applied.model = 'group_memberships' then 0 else batches.rows_rejected end as rows_rejected,
        applied.rows_landed,
        applied.rows_inserted,
        applied.rows_updated,
        applied.rows_unchanged,
        applied.rows_stale,
        applied.rows_duplicate,
        applied.rows_quarantined
    from applied
    inner join batches
        on applied.table_name = batches.table_name
        and applied.day = batches.day
        and applied.batch_id = batches.batch_id

)

select
    *,
    coalesce(
        rows_in_files = rows_landed + rows_rejected
        and rows_landed = rows_inserted + rows_updated + rows_unchanged + rows_stale + rows_duplicate + rows_quarantined,
        false
    ) as balanced
from counted
