{{ config(tags=['<< entity.name >>']) }}

{{
    typed_records(
        'stg_<< entity.name >>',
        required=['<< entity.key | join("', '") >>'],
    )
}}
