-- Groups in a cycle, or below one.
select * from metrics.group_activity
where depth is null
order by in_cycle desc, group_id
limit 100
