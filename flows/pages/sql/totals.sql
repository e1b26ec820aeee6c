-- All groups, counted.
select
    count(*) as groups,
    count(*) filter (where not inactive) as active,
    count(*) filter (where inactive) as inactive,
    count(*) filter (where in_cycle) as in_cycle,
    count(*) filter (where depth is null and not in_cycle) as below_a_cycle
from metrics.group_activity
