-- Each record of a key, with its fields as text and those of the one before it in the same table;
-- then the applied days whose complete list lacks the key, once it has had it.
with records as (
    select
        _record.*,
        (
            select json_object_agg(key, value) from json_each_text(to_json(_record))
            where not starts_with(key, '_')
        ) as _fields
    from {relation} as _record
    where {is_it}
)

select
    _day, _batch_id, _source_file, _source_row, _source_table, _fields as fields, _errors as reasons,
    coalesce(_outcome, 'quarantined') as outcome,
    lag(_fields) over (
        partition by _source_table order by _day, _source_file, _source_row
    ) as before
from records
union all
select applied.day, null, null, null, applied.table_name, null, null, 'not listed', null
from metrics.applied_batches as applied
inner join records on applied.table_name = _source_table
where applied.model = %(entity)s and applied.table_name = any(%(snapshots)s)
group by applied.day, applied.table_name
having min(_day) < applied.day and not bool_or(_day = applied.day)
order by _day, _source_file, _source_row, _source_table
