"""The Spark engine: a day's raw files into Parquet that `loaders` lands like any other day.

`reading` deals out files, and slices of big ones; `tasks` is what runs of it on the executors: the
very readers of `loaders`, so that both engines mean the same.
"""
