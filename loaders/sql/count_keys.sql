-- How many keys are new, changed and gone. A row a key; one that can't be read is nobody's.
with fresh as (
    select distinct on ({key}) {key}, row({columns})::text as content from {new}
    where row({key}) is not null
    order by {key}, _source_row desc
),
held as (
    select distinct on ({key}) {key}, row({columns})::text as content from {landed}
    where row({key}) is not null and (%(day)s::date is null or _day = %(day)s)
    order by {key}, _day desc, _source_row desc
)
select
    count(*) filter (where held.content is null),
    count(*) filter (where fresh.content <> held.content),
    count(*) filter (where fresh.content is null)
from fresh full join held using ({key})
