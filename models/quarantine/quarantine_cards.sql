{{
    config(
        alias='cards',
        tags=['cards'],
        pre_hook=["{{ forget_pending('cards', ['stg_cards']) }}", "{{ forget_rechecked(ref('int_cards_pending')) }}"],
    )
}}

{{ quarantined(ref('int_cards_pending'), 'stg_cards') }}
