-- For each table the two queries of its rows, as key and hash; equal numbers hash alike, whatever
-- zeros they end in. Where silver's value stands (_day, _source_row) depends on who brought it
-- first, or again; in quarantine is a record itself. transaction_pipeline_state says how far days
-- came. What tells rows apart a table's unique index says, for views it is said here.
with columns as (
    select
        layer,
        relname,
        attname,
        attnum,
        case
            when layer = 'quarantine' then attname not in ('_batch_id', '_updated_at')
            else not starts_with(attname, '_')
        end as is_compared,
        attname = any(coalesce(
            (
                select array_agg(keys.attname)
                from pg_index
                inner join pg_attribute as keys on attrelid = indrelid and attnum = any(indkey)
                where indrelid = pg_class.oid and indisunique
            ),
            case
                when layer = 'quarantine'
                    then array['_source_table', '_day', '_source_file', '_source_row']::name[]
                else array[
                    'group_id', 'agent_id', 'card_id', 'sync_date', 'valid_from',
                    'day', 'table_name', 'target'
                ]::name[]
            end
        )) as is_key,
        exists (
            select from pg_attribute as built
            where built.attrelid = to_regclass(format('%%I.%%I', layer, relname))
                and built.attname = pg_attribute.attname and not built.attisdropped
        ) as is_built
    from unnest(array['silver', 'quarantine', 'metrics', 'marts']) as layer
    inner join pg_class
        on relnamespace = to_regnamespace(%(prefix)s || layer) and relkind in ('r', 'v')
    inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
    where relname <> 'transaction_pipeline_state'
        and (layer <> 'metrics' or relname in ('row_ledger', 'group_activity'))
),

queries as (
    select
        layer,
        relname,
        bool_and(is_built) as is_built,
        format(
            'select array[%%s]::text[] as key, hash_record_extended(row(%%s), 0) as hash from ',
            string_agg(format('%%I::text', attname), ', ' order by attnum) filter (where is_key),
            string_agg(format('%%I', attname), ', ' order by attnum) filter (where is_compared)
        ) as rows_of
    from columns
    group by layer, relname
)

select
    layer || '.' || relname,
    case when is_built then rows_of || format('%%I.%%I', layer, relname)
        else rows_of || format('%%I.%%I where false', %(prefix)s || layer, relname) end,
    rows_of || format('%%I.%%I', %(prefix)s || layer, relname)
from queries
order by layer, relname
