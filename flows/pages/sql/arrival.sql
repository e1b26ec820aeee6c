-- When a day first succeeded, and whether it has been noted as late. A day that no run of the flow
-- was for has come when silver has taken in each of the `required` tables, by hand.
with runs as (
    select
        count(*) filter (where task_name = 'day-pipeline') as tried,
        min(finished_at) filter (where task_name = 'day-pipeline' and status = 'success') as came,
        bool_or(task_name = 'late') as is_noted
    from metrics.pipeline_metrics
    where day = %(day)s
),

first as (
    select min(finished_at) as came
    from metrics.pipeline_metrics
    where day = %(day)s
        and status = 'success'
        and table_name = any(%(required)s)
        and table_name = 'stg_' || task_name
    group by table_name
),

by_hand as (
    select max(came) as came
    from first
    having count(*) = cardinality(%(required)s)
)

select case when runs.tried = 0 then by_hand.came else runs.came end as came, runs.is_noted
from runs
left join by_hand on true
