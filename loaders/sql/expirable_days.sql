-- Landed days that may go: more than `keep` days before the newest applied day, applied by all
-- models that read the table, and of a snapshot not its newest, after which it may have gone. to_char
-- writes the partition's name as loaders.partition.partition_name does.
with current_batches as (
    select distinct on (table_name, day) table_name, day, batch_id, status
    from bronze.load_batches
    where status in ('succeeded', 'skipped') and rows_landed is not null
    order by table_name, day, batch_id desc
),
models as (
    select * from metrics.applied_batches where model not like '%%:%%'
),
readers as (
    select table_name, count(distinct model) as models from models group by table_name
),
-- A model works on days that are not yet due for others: all that read the table must be through.
applied as (
    select table_name, day, min(batch_id) as lowest, max(batch_id) as highest
    from models
    join readers using (table_name)
    group by table_name, day, readers.models
    having count(*) = readers.models
),
newest as (
    select table_name, max(day) as day from applied
    join current_batches using (table_name, day)
    where status = 'succeeded'
    group by table_name
)
select
    batches.table_name, batches.day, batches.batch_id,
    batches.table_name || '_p' || to_char(batches.day, 'YYYYMMDD') as partition
from current_batches as batches
join applied
    on applied.table_name = batches.table_name and applied.day = batches.day
    and applied.lowest = batches.batch_id and applied.highest = batches.batch_id
join newest on newest.table_name = batches.table_name
where batches.day < (select max(day) from applied) - %(keep)s
    and (batches.day < newest.day or batches.table_name <> all(%(snapshots)s))
    and to_regclass(
        'bronze.' || batches.table_name || '_p' || to_char(batches.day, 'YYYYMMDD')
    ) is not null
order by batches.day, batches.table_name
