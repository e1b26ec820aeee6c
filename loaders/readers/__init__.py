"""Readers: a raw file's bytes to rows that COPY takes. They know a table's declaration and nothing
of the warehouse: what they find beside rows goes to `Observed`."""
