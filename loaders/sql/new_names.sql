-- The landed names that are not kept yet. What lands is made distinct first: everything else costs
-- a million times what it costs once.
with landed as materialized (
    select distinct {landed} from bronze.stg_transactions
    where %(day)s::date is null or _day = %(day)s::date
),

names as (
    select distinct {value} as value from landed
)

select value from names
where
    bronze.bare(value) is not null and length(value) <= %(longest)s
    and not exists (select from bronze.{table} as known where known.{name} = value)
order by value
