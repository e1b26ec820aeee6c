-- The newest day's list counts, whatever its group says of its last update.

{{ config(materialized='table', unlogged=true, tags=['groups']) }}

{{
    pending_records(
        model='int_group_lists',
        layer='intermediate',
        key=['group_id'],
        order=['_day', 'updated_at'],
        records=[{'typed': ref('int_group_lists_typed'), 'table': 'stg_groups'}],
    )
}}
