-- Why records of an entity are in quarantine on a day: of each table and reason its rows, the keys of
-- some, and what their column had. A key or a value that may be anything is not shown.
with numbered as (
    select
        quarantined, _source_table, _source_file, _source_row, reason,
        count(*) over (partition by _source_table, reason) as rows,
        row_number() over (partition by _source_table, reason order by _source_file, _source_row) as nth
    from quarantine.{view} as quarantined
    cross join unnest(_errors) as reason
    where _day = %(day)s
),

-- to_jsonb and the patterns cost more than all else here
sampled as (
    select
        *, to_jsonb(quarantined) as record, regexp_replace(reason, '_invalid$', '') as wrong
    from numbered
    where nth <= %(sample)s
)

select
    _source_table, reason, rows,
    array_agg(
        concat_ws(
            ' · ',
            (
                select string_agg(record ->> name, ', ' order by place)
                from unnest(%(key)s::text[]) with ordinality as key (name, place)
                where record ->> name ~ %(is_a_key)s
            ),
            _source_file || ' row ' || _source_row
        )
        order by nth
    ),
    coalesce(array_agg(distinct case
        when wrong = any(%(personal)s::text[]) then '(personal)'
        when record ->> wrong ~ %(is_a_word)s then record ->> wrong
        else '(not shown)'
    end) filter (
        where right(reason, 8) = '_invalid' and wrong = any(%(declared)s::text[]) and record ->> wrong is not null
    ), '{{}}')
from sampled
group by _source_table, reason, rows
