"""Landing: a day's raw files into `bronze.stg_*`. Knows nothing of Prefect or of dbt."""
