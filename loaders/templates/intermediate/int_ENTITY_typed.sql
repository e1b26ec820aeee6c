{{ config(tags=['<< entity.name >>']) }}

{{
    typed_records(
        source('bronze', 'stg_<< entity.name >>'),
        'stg_<< entity.name >>',
        required=['<< entity.key | join("', '") >>'],
    )
}}
