-- Each merchant, and whether other seeds are asked again: it has no application, or one that is gone.
select raw_name, method not in ('exact', 'fuzzy') or application <> all(%(applications)s)
from bronze.merchant_matches
