{{ config(tags=['cards']) }}

{{
    typed_records(
        source('bronze', 'stg_cards'),
        'stg_cards',
        required=['card_id', 'status', 'type', 'created_time'],
    )
}}
