-- The newest landed lists of agents that list anybody: a table each.
select distinct on (table_name) table_name, day, batch_id
from (
    select distinct on (table_name, day) *
    from bronze.load_batches
    where
        table_name in ('stg_agents', 'stg_agent_details')
        and rows_landed is not null and status in ('succeeded', 'skipped')
    order by table_name, day, batch_id desc
) as landed
where rows_landed > 0
order by table_name, day desc
