{{
    config(
        unique_key=['<< entity.key | join("', '") >>'],
        tags=['<< entity.name >>'],
        meta={'pipeline': '<< entity.name >>', 'tables': ['stg_<< entity.name >>'], 'records': 'int_<< entity.name >>_records'},
    )
}}

with records as (

    {{ records_of_changed_keys(ref('int_<< entity.name >>_records'), '<< entity.key | join(", ") >>') }}

),

latest as (

    select distinct on (<< entity.key | join(", ") >>) * from records
    where _outcome in ('inserted', 'updated', 'unchanged')
    order by << entity.key | join(", ") >>, _day desc

)

select
<% for column in entity.columns %>
    << column.name >>,
<% endfor %>
    _day,
    _batch_id,
    _source_file,
    _source_row,
    clock_timestamp() as _updated_at
from latest
