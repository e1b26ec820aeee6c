-- The statements that a proof begins with: the records whose landed rows have expired are copied,
-- as batches that are applied, since nothing can make them anew.
with expired as (
    select model from metrics.applied_batches
    inner join bronze.expired_days using (batch_id)
    where starts_with(model, 'int_') and right(model, 8) = '_records'
    group by model
)

select
    'create schema daybook_prove_intermediate; create schema daybook_prove_metrics;'
    'create table daybook_prove_metrics.applied_batches'
    ' (like metrics.applied_batches including all)' as statement
union all
select format(
    'create table daybook_prove_intermediate.%%1$I (like intermediate.%%1$I including all);'
    'insert into daybook_prove_intermediate.%%1$I select * from intermediate.%%1$I'
    ' where _batch_id in (select batch_id from bronze.expired_days);'
    'insert into daybook_prove_metrics.applied_batches select * from metrics.applied_batches'
    ' where model = %%1$L and batch_id in (select batch_id from bronze.expired_days)',
    model
)
from expired
