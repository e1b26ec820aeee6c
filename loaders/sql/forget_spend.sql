-- Card users are part of the key of this table: what they spent is nobody's then.
with forgotten as (
    delete from intermediate.int_spend_monthly where {} returning *
)

insert into intermediate.int_spend_monthly as spend
    (month, application, user_id, user_name, usd, transactions, is_looked_up)
select month, application, '', '', sum(usd), sum(transactions), bool_and(is_looked_up)
from forgotten
group by month, application
on conflict (month, application, user_id, user_name) do update
set
    usd = spend.usd + excluded.usd,
    transactions = spend.transactions + excluded.transactions,
    is_looked_up = spend.is_looked_up and excluded.is_looked_up
