"""Alembic's entry: on the connection of `loaders.warehouse migrate`, in its transaction, or, called
by hand, on one of its own."""

from contextlib import nullcontext

from alembic import context

from loaders import warehouse

given = context.config.attributes.get("connection")
with nullcontext(given) if given else warehouse.engine("daybook alembic").begin() as connection:
    connection.exec_driver_sql("create schema if not exists bronze")
    context.configure(
        connection=connection, version_table="alembic_version", version_table_schema="bronze"
    )
    with context.begin_transaction():
        context.run_migrations()
