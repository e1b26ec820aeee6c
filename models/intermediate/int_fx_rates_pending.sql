{{ config(materialized='table', unlogged=true, tags=['transactions']) }}

{{
    pending_records(
        model='fx_rates',
        key=['rate_date', 'currency'],
        order=[],
        records=[{'typed': ref('int_fx_rates_typed'), 'table': 'stg_fx_rates'}],
    )
}}
