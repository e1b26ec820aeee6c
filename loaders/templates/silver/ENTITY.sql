{{
    config(
        unique_key=['<< key | join("', '") >>'],
        tags=['<< name >>'],
        meta={'pipeline': '<< name >>', 'tables': ['stg_<< name >>'], 'records': 'int_<< name >>_records'},
    )
}}

with latest as (

    {{ winning_records(ref('int_<< name >>_records'), '<< key | join(", ") >>') }}

)

select
<% for column in table.columns %>
    << column.name >>,
<% endfor %>
    _day,
    _batch_id,
    _source_file,
    _source_row,
    statement_timestamp() as _updated_at
from latest
