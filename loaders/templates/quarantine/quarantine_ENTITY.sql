{{ config(alias='<< name >>', tags=['<< name >>']) }}

with records as (

    select * from {{ ref('int_<< name >>_records') }}
    where _outcome = 'quarantined'

)

select
<% for column in table.columns %>
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
