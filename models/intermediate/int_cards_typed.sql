{{ config(tags=['cards']) }}

{{
    typed_records(
        'stg_cards',
        required=['card_id', 'status', 'type', 'created_time'],
    )
}}
