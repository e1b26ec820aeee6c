{{
    config(
        alias='fx_rates',
        tags=['transactions'],
        pre_hook=["{{ forget_pending('fx_rates', ['stg_fx_rates']) }}", "{{ forget_rechecked(ref('int_fx_rates_pending')) }}"],
    )
}}

{{ quarantined(ref('int_fx_rates_pending'), 'stg_fx_rates') }}
