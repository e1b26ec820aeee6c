"""Which months of spend are to be worked out again."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
create table metrics.changed_months (
    month date primary key,
    changed_at timestamptz not null default clock_timestamp()
);
comment on table metrics.changed_months is
    'One row per month whose transactions changed since its spend was worked out; -infinity: all.';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
