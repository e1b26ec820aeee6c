-- Dollars of the last 12 months: the seven largest applications, all others, and what matches
-- none, each with a colour of its own, also where others are absent. `months` and `usd` go
-- together; `share` is a line's of all that was spent or paid back.
with months as (
    select distinct month from marts.application_spend_monthly
    order by month desc
    limit 12
),

ranked as (
    select
        application, abs(sum(usd)) as size,
        row_number() over (
            order by application = 'unmatched', sum(usd) desc, application
        ) as nth
    from marts.application_spend_monthly
    where month in (select month from months)
    group by application
),

named as (
    select
        application, size,
        case when application = 'unmatched' then 8 else least(nth - 1, 7) end as colour,
        case when application = 'unmatched' or nth <= 7 then application
            else 'other applications' end as name
    from ranked
),

lines as (
    select name, colour, coalesce(sum(size) / nullif(sum(sum(size)) over (), 0), 0) as share
    from named
    group by name, colour
)

select
    name, 'c' || colour as colour, share,
    array(select to_char(month, 'Mon YYYY') from months order by month) as months,
    array(
        select coalesce(sum(usd), 0)
        from months
        left join (
            select month, usd from marts.application_spend_monthly
            inner join named using (application)
            where named.colour = lines.colour
        ) as spent using (month)
        group by month
        order by month
    ) as usd
from lines
order by lines.colour
