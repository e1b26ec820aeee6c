"""Daybook against plain Postgres and plain dbt: ratios taken within one run."""
