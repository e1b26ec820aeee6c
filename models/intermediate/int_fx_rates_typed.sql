{{ config(tags=['transactions']) }}

{{
    typed_records(
        'stg_fx_rates',
        required=['rate_date', 'currency', 'usd_per_unit'],
        checks={
            'currency_invalid': 'typed.currency not in (select iso.currency from ' ~ ref('iso_4217') ~ ' as iso)',
            'usd_per_unit_invalid': 'typed.usd_per_unit <= 0 or typed.usd_per_unit >= 1e9',
        },
    )
}}
