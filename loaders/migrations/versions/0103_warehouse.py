"""All of a new warehouse: the SQL in the folder beside this file."""

from pathlib import Path
from typing import cast

from alembic import op
from psycopg import Connection

revision = "0103"
down_revision = None


def upgrade() -> None:
    # several statements, with signs % and : in them, go to the driver as they are
    connection = cast(Connection, op.get_bind().connection.driver_connection)
    for file in sorted(Path(__file__).with_name(revision).glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))
