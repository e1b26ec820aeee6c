-- The days that a proof has built: how many, those whose landed rows have expired, and those that
-- are not built as they have landed. 1970-01-01 is what no batch brings.
select
    count(distinct day) as days,
    array(
        select distinct day from daybook_prove_metrics.applied_batches
        inner join bronze.expired_days using (batch_id, day)
        order by day
    ) as expired,
    array(
        select distinct day from daybook_prove_metrics.applied_batches as rebuilt
        where day > '1970-01-01' and not exists (
            select from metrics.applied_batches as built
            where built.table_name = rebuilt.table_name
                and built.day = rebuilt.day
                and built.batch_id = rebuilt.batch_id
        )
        order by day
    ) as unbuilt
from daybook_prove_metrics.applied_batches
where day > '1970-01-01'
