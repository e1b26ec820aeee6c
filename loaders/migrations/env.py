"""Alembic's entry: on the connection of `loaders.warehouse migrate`, in its transaction, or, called
by hand, on one of its own."""

import contextlib
from collections.abc import Iterator

from alembic import context
from sqlalchemy import Connection

from loaders import warehouse


@contextlib.contextmanager
def connected() -> Iterator[Connection]:
    given = context.config.attributes.get("connection")
    if given is not None:
        yield given
        return
    with warehouse.engine("daybook alembic").begin() as connection:
        yield connection


with connected() as connection:
    connection.exec_driver_sql("create schema if not exists bronze")
    context.configure(
        connection=connection,
        version_table="alembic_version",
        version_table_schema="bronze",
    )
    with context.begin_transaction():
        context.run_migrations()
