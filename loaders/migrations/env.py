"""Alembic's entry: migrates on the connection it is given, inside that connection's transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="bronze",
)
with context.begin_transaction():
    context.run_migrations()
