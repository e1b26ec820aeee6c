-- The last landings, the newest first.
select
    batch_id as batch, day, table_name as "table", status, rows_landed as landed,
    rows_rejected as rejected
from bronze.load_batches
order by batch_id desc
limit %(most)s
