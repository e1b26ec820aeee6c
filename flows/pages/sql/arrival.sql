-- When a day first succeeded, and whether it has been noted as late. A day that no run of the flow
-- was for has come when silver holds the newest batch of each of the `required` tables, by hand.
with runs as (
    select
        count(*) filter (where task_name = 'day-pipeline') as tried,
        min(finished_at) filter (where task_name = 'day-pipeline' and status = 'success') as came,
        bool_or(task_name = 'late') as is_noted
    from metrics.pipeline_metrics
    where day = %(day)s
),

by_hand as (
    select max(applied.applied_at) as came
    from metrics.applied_batches as applied
    where applied.day = %(day)s
        and applied.table_name = any(%(required)s)
        and not starts_with(applied.model, 'int_')
        and applied.batch_id = (
            select max(landed.batch_id) from bronze.load_batches as landed
            where landed.day = %(day)s
                and landed.table_name = applied.table_name
                and landed.rows_landed is not null
        )
    having count(distinct applied.table_name) = cardinality(%(required)s)
)

select case when runs.tried = 0 then by_hand.came else runs.came end as came, runs.is_noted
from runs
left join by_hand on true
