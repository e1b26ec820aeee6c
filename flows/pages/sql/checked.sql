-- The last run of the day before that was checked.
select day, flow_run_id from metrics.check_results
where day < %(day)s
order by day desc, id desc
limit 1
