-- Every row of a file has exactly one end. Who fixes: whoever changed a strategy or a loader.

select *
from {{ ref('row_ledger') }}
where not balanced
    and day = coalesce({{ app_day() }}, day)
