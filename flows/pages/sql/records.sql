-- Each record of a key: its fields as text, those of a quarantined one as they landed, and which of
-- them differ in value from the record before it in the same table; then the applied days whose complete list lacks the key, once it has had it.
with records as (
    select
        *, to_json(_record) as _json,
        lag(to_json(_record)) over (
            partition by _source_table order by _day, _source_file, _source_row
        ) as _before
    from {relation} as _record
    where {is_it}
)

select
    _day, _batch_id, _source_file, _source_row, _source_table, _errors as reasons,
    coalesce(_outcome, 'quarantined') as outcome, _before is null as is_first,
    (
        select json_object_agg(key, coalesce(_landed ->> key, value)) from json_each_text(_json)
        where not starts_with(key, '_')
    ) as fields,
    -- as jsonb, in which 1.10 is 1.1
    array(
        select key from json_each(_json)
        where not starts_with(key, '_') and value::jsonb <> (_before -> key)::jsonb
    ) as changed
from records
union all
select applied.day, null, null, null, applied.table_name, null, 'not listed', null, null, null
from metrics.applied_batches as applied
inner join records on applied.table_name = _source_table
where applied.model = %(entity)s and applied.table_name = any(%(snapshots)s)
group by applied.day, applied.table_name
having min(_day) < applied.day and not bool_or(_day = applied.day)
order by _day, _source_file, _source_row, _source_table
