-- Merchants to look at again with other seeds: without an application, with one that is gone, or
-- named by an override.
select raw_name from bronze.merchant_matches
where
    method not in ('exact', 'fuzzy') or application <> all(%(applications)s)
    or lower(regexp_replace(btrim(raw_name), '\s+', ' ', 'g')) = any(%(overridden)s)
