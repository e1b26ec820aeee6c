{{ config(alias='cards', tags=['cards']) }}

with records as (

    select * from {{ ref('int_cards_records') }}
    where _outcome = 'quarantined'

)

select
    coalesce(_landed ->> 'card_id', card_id::text) as card_id,
    coalesce(_landed ->> 'card_uuid', card_uuid::text) as card_uuid,
    coalesce(_landed ->> 'name', name::text) as name,
    coalesce(_landed ->> 'user_id', user_id::text) as user_id,
    coalesce(_landed ->> 'user_uuid', user_uuid::text) as user_uuid,
    coalesce(_landed ->> 'budget_id', budget_id::text) as budget_id,
    coalesce(_landed ->> 'budget_uuid', budget_uuid::text) as budget_uuid,
    coalesce(_landed ->> 'last_four', last_four::text) as last_four,
    coalesce(_landed ->> 'valid_thru', valid_thru::text) as valid_thru,
    coalesce(_landed ->> 'status', status::text) as status,
    coalesce(_landed ->> 'type', type::text) as type,
    coalesce(_landed ->> 'share_budget_funds', share_budget_funds::text) as share_budget_funds,
    coalesce(_landed ->> 'recurring', recurring::text) as recurring,
    coalesce(_landed ->> 'recurring_limit', recurring_limit::text) as recurring_limit,
    coalesce(_landed ->> 'current_limit', current_limit::text) as current_limit,
    coalesce(_landed ->> 'current_spent', current_spent::text) as current_spent,
    coalesce(_landed ->> 'created_time', created_time::text) as created_time,
    coalesce(_landed ->> 'updated_time', updated_time::text) as updated_time,
    _errors,
    _extra,
    _source_table,
    _day,
    _batch_id,
    _source_file,
    _source_row,
    _updated_at
from records
