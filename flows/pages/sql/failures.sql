-- What failed in a run: landings and models, in order, each message on one line and without dbt's
-- first words, which repeat the node, and last, which name a place on this machine.
select
    pipeline_name,
    btrim(regexp_replace(
        regexp_replace(
            error_message, '^\w+ Error in [^\n]*\n|\n\s*compiled code at [^\n]*', '', 'g'
        ),
        '\s+', ' ', 'g'
    )) as error_message,
    case when pipeline_name = 'landing' then table_name else task_name end as name
from metrics.pipeline_metrics
where flow_run_id = %(run)s and status = 'failure' and task_name <> 'day-pipeline'
order by id
