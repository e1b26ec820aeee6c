"""The Spark engine: reads a day's raw files into rows for COPY, which `loaders` lands.

`reading` spreads files, and slices of big ones, over the executors; `tasks` runs there, with the
readers of `loaders`, so that both engines give the same rows.
"""
