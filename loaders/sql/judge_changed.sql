-- Records that this transaction changed (their _updated_at is now()) are held anew against the
-- winner before them.
update {records} set _hash = hash_record_extended(row({values}), 0)
where _updated_at = now() and _source_table = '{table}';

update {records} as records
set _outcome = case when records._hash = judged.before then 'unchanged' else 'updated' end
from (
    select ctid as place, lag(_hash) over (partition by {key} order by _day) as before
    from {records}
    where
        _outcome in ('inserted', 'updated', 'unchanged')
        and ({key}) in (
            select {key} from {records} where _updated_at = now() and _source_table = '{table}'
        )
) as judged
where records.ctid = judged.place and records._outcome in ('updated', 'unchanged')
