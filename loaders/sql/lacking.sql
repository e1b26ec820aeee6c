-- The schemas, of those named, in which this login can't create.
select string_agg(name, ', ' order by name)
from unnest(%s::text[]) as name
where not coalesce(has_schema_privilege(to_regnamespace(name), 'create'), false)
