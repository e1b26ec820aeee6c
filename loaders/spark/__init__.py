"""The Spark engine: a day's raw files into Parquet that `loaders` lands like any other day.

`reading` decides what reads which file, `lines` holds what Spark does by itself, `tasks` what runs
in Python on the executors: the very readers of `loaders`, so that both engines mean the same.
"""
