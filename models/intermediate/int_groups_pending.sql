{{ config(materialized='table', unlogged=true, tags=['groups']) }}

{{
    pending_records(
        model='groups',
        key=['group_id'],
        order=['updated_at'],
        records=[{'typed': ref('int_groups_typed'), 'table': 'stg_groups'}],
    )
}}
