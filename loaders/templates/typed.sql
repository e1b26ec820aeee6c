{{ config(tags=['$entity']) }}

{{
    typed_records(
        source('bronze', 'stg_$entity'),
        'stg_$entity',
        required=[$key],
    )
}}
