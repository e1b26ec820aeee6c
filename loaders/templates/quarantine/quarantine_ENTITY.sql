{{ config(alias='<< entity.name >>', tags=['<< entity.name >>']) }}

with records as (

    select * from {{ ref('int_<< entity.name >>_records') }}
    where _outcome = 'quarantined'

)

select
<% for column in entity.columns %>
    coalesce(_landed ->> '<< column.name >>', << column.name >>::text) as << column.name >>,
<% endfor %>
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
