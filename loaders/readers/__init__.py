"""Readers: a raw file's bytes to rows that COPY takes. They know a table's declaration and nothing
of the warehouse: what they find beside rows goes to `Observed`."""

# Part of every fingerprint and of Spark's manifest: raise it when the same bytes land otherwise.
VERSION = 14
