-- What the checks of a run, or (null) of the last that checked, found; failures first. `accepted`:
-- why a warning was known when it was found, and until when.
select results.*, names.name, known.value as accepted
from metrics.check_results as results
cross join lateral (select suite || '.' || check_name as name) as names
left join jsonb_each(%(accepted)s) as known
    on known.key = names.name
    and not success
    and severity = 'warn'
    and (checked_at at time zone 'UTC')::date <= (known.value ->> 'until')::date
where flow_run_id = coalesce(
    %(run)s::text, (select flow_run_id from metrics.check_results order by id desc limit 1)
)
order by success, severity, suite, id
