-- Hashes of what names somebody, salted alike; of a word whatever its case.
insert into bronze.forgotten (hash, salt)
select
    sha256(convert_to(
        salt || kind || ' ' || case kind when 'word' then lower(btrim(value)) else value end,
        'UTF8'
    )),
    salt
from (select coalesce((select salt from bronze.forgotten limit 1), %s) as salt) as salts
cross join unnest(%s::text[], %s::text[]) as names (kind, value)
on conflict do nothing
