"""Which landed days have left bronze again."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
create table bronze.expired_days (
    batch_id bigint primary key references bronze.load_batches,
    table_name text not null,
    day date not null,
    flow_run_id text not null,
    expired_at timestamptz not null default clock_timestamp()
);
comment on table bronze.expired_days is
    'One row per batch whose landed rows were dropped after they had been applied.';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
