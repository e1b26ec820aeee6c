{{ config(tags=['<< name >>']) }}

{{
    typed_records(
        'stg_<< name >>',
        required=['<< key | join("', '") >>'],
    )
}}
