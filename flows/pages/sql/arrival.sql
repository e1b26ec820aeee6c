-- When a day first succeeded, and whether it has been noted as late.
select
    min(finished_at) filter (where task_name = 'day-pipeline' and status = 'success') as came,
    bool_or(task_name = 'late') as is_noted
from metrics.pipeline_metrics
where day = %(day)s
