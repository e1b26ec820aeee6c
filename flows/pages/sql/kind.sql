-- Whether days are dates or numbers: by what was asked for while nothing has landed.
select coalesce(
    (select kind from bronze.calendar limit 1),
    (
        select 'numbered' from metrics.phase_runs
        where starts_with(settings ->> 'day', 'day')
        limit 1
    ),
    'dated'
) as kind
