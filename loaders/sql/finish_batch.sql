-- Record a batch's outcome; what it gives is a row of the run metrics.
update bronze.load_batches
set status = %(status)s, rows_landed = %(rows_landed)s,
    rows_in_files = %(rows_in_files)s, rows_rejected = %(rows_rejected)s,
    source_files = %(source_files)s, fingerprint = %(fingerprint)s,
    drift = %(drift)s, error = %(error)s, finished_at = clock_timestamp()
where batch_id = %(batch_id)s
returning
    flow_run_id, table_name, day, error as error_message, coalesce(rows_landed, 0) as rows_landed, started_at,
    finished_at, case status when 'failed' then 'failure' else 'success' end as status,
    greatest(extract(epoch from finished_at - started_at), 0.000001) as duration_seconds
