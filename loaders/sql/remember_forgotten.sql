-- Hashes of what names somebody, salted alike. What may stand in texts is kept as a word too, whatever
-- its case: not of less than four characters, which stand everywhere.
with names as (
    select * from unnest(%(kinds)s::text[], %(values)s::text[]) as names (kind, value)
)

insert into bronze.forgotten (hash, salt)
select
    sha256(convert_to(salt || kind || ' ' || value, 'UTF8')),
    salt
from (select coalesce((select salt from bronze.forgotten limit 1), %(salt)s) as salt) as salts
cross join (
    select kind, value from names where kind in ('agent', 'user')
    union
    select 'word', lower(bronze.bare(value)) from names where length(bronze.bare(value)) >= 4
) as hashed (kind, value)
on conflict do nothing
