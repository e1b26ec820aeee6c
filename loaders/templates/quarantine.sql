{{ config(alias='$entity', tags=['$entity']) }}

with records as (

    select * from {{ ref('int_${entity}_records') }}
    where _outcome = 'quarantined'

)

select
$landed
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
