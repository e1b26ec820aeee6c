-- When what the days built was last held against what they build anew, and what parted.
select * from metrics.proofs
order by id desc
limit 1
