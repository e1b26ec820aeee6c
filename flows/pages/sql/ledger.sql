-- A day's row ledger, with the median of the days before.
select ledger.*, history.median_of_14_days_before as median
from metrics.row_ledger as ledger
left join metrics.volume_history as history
    on ledger.table_name = history.table_name and ledger.day = history.day
where ledger.day = %(day)s
order by ledger.table_name, ledger.target
