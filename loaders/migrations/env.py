"""Alembic's entry: on the connection of `loaders.warehouse migrate`, in its transaction, or, called
by hand, on one of its own."""

from contextlib import nullcontext

from alembic import context

from loaders import warehouse
from loaders.backup import SCHEMAS

shared = context.config.attributes.get("connection")
with nullcontext(shared) if shared else warehouse.engine("daybook alembic").begin() as connection:
    for schema in SCHEMAS:
        connection.exec_driver_sql(f"create schema if not exists {schema}")
    context.configure(
        connection=connection, version_table="alembic_version", version_table_schema="bronze"
    )
    with context.begin_transaction():
        context.run_migrations()
