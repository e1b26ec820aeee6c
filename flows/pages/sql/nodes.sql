-- The dbt nodes of a run that did not go well.
select node, resource_type, status from metrics.node_runs
where flow_run_id = %(run)s and status in ('error', 'fail', 'runtime error', 'warn')
order by started_at, node
