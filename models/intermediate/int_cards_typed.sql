{{ config(tags=['cards']) }}

{{
    typed_records(
        source('bronze', 'stg_cards'),
        'stg_cards',
        required=['card_id', 'status', 'type', 'created_time'],
        checks={'card_id_invalid': is_too_long('typed.card_id')},
    )
}}
