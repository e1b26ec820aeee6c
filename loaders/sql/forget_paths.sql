-- A file that is called by somebody forgotten.
update bronze.load_batches set source_files = (
    select jsonb_agg(
        case when bronze.tells_of_forgotten(file ->> 'path')
            then file || '{{"path": "forgotten"}}' else file end
    )
    from jsonb_array_elements(source_files) as file
)
where
    {}
    and bronze.tells_of_forgotten(jsonb_path_query_array(source_files, '$[*].path')::text)
