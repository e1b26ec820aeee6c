-- The last landings, the newest first.
select
    batch_id as batch,
    case when %(numbered)s then 'day' || day - date '1970-01-01' else day::text end as day,
    table_name as "table", status, rows_landed as landed,
    rows_rejected as rejected
from bronze.load_batches
order by batch_id desc
limit %(most)s
