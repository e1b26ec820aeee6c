{{
    config(
        unique_key=[$key],
        tags=['$entity'],
        meta={'pipeline': '$entity', 'tables': ['stg_$entity'], 'records': 'int_${entity}_records'},
    )
}}

with records as not materialized (

    select * from {{ ref('int_${entity}_records') }}

),

changed as (

    {{ changed_keys('records', [$key], plan()) }}

),

latest as (

    select winner.*
    from changed
    cross join
        lateral (
            select * from records
            where $same_key
                and records._outcome in ('inserted', 'updated', 'unchanged')
            order by records._day desc
            limit 1
        ) as winner

)

select
$columns
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
