-- Every row of a file has exactly one end. Who fixes: whoever changed a strategy or a loader.

{{ config(tags=['metrics', 'agents', 'groups', 'transactions', 'roles', 'budgets', 'cards']) }}

select *
from {{ ref('row_ledger') }}
where not balanced
    and day = coalesce({{ app_day() }}, day)
