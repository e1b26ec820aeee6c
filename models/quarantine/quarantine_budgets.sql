{{ config(alias='budgets', tags=['budgets']) }}

with records as (

    select * from {{ ref('int_budgets_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'budget_id', budget_id::text) as budget_id,
    coalesce(_landed ->> 'budget_uuid', budget_uuid::text) as budget_uuid,
    coalesce(_landed ->> 'name', name::text) as name,
    coalesce(_landed ->> 'description', description::text) as description,
    coalesce(_landed ->> 'retired', retired::text) as retired,
    coalesce(_landed ->> 'start_date', start_date::text) as start_date,
    coalesce(_landed ->> 'recurring_interval', recurring_interval::text) as recurring_interval,
    coalesce(_landed ->> 'timezone', timezone::text) as timezone,
    coalesce(_landed ->> 'limit_amount', limit_amount::text) as limit_amount,
    coalesce(_landed ->> 'overspend_buffer', overspend_buffer::text) as overspend_buffer,
    coalesce(_landed ->> 'assigned_amount', assigned_amount::text) as assigned_amount,
    coalesce(_landed ->> 'spent_cleared', spent_cleared::text) as spent_cleared,
    coalesce(_landed ->> 'spent_pending', spent_pending::text) as spent_pending,
    coalesce(_landed ->> 'spent_total', spent_total::text) as spent_total,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
