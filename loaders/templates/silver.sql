{{
    config(
        unique_key=[$key],
        tags=['$entity'],
        meta={'pipeline': '$entity', 'tables': ['stg_$entity'], 'records': 'int_${entity}_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_${entity}_records'), [$key], plan()) }}

),

latest as (

    select distinct on ($names) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by $names, _day desc

)

select
$columns
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
