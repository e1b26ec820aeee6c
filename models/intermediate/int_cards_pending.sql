{{ config(materialized='table', unlogged=true, tags=['cards']) }}

{{
    pending_records(
        model='cards',
        key=['card_id'],
        order=['updated_time'],
        records=[{'typed': ref('int_cards_typed'), 'table': 'stg_cards'}],
    )
}}
