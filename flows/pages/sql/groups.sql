-- The upper part of the tree of groups, roots first, each with the number of its children: so many
-- that the page stays below 300 kB.
select shown.*, coalesce(below.children, 0) as children
from metrics.group_activity as shown
left join (
    select parent_group_id, count(*) as children from metrics.group_activity group by 1
) as below on shown.group_id = below.parent_group_id
where depth <= 25
order by depth, inactive, group_id
limit 1000
