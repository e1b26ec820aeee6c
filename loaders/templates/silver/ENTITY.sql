{{
    config(
        unique_key=['<< key | join("', '") >>'],
        tags=['<< name >>'],
        meta={'pipeline': '<< name >>', 'tables': ['stg_<< name >>'], 'records': 'int_<< name >>_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_<< name >>_records'), '<< key | join(", ") >>') }}

),

latest as (

    select distinct on (<< key | join(", ") >>) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by << key | join(", ") >>, _day desc

)

select
<% for column in table.columns %>
    << column.name >>,
<% endfor %>
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
