"""Which phases of a run are done: what --resume goes on from."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
create table metrics.phase_runs (
    flow_run_id text not null,
    phase text not null,
    seconds double precision not null,
    settings jsonb,
    finished_at timestamptz not null default clock_timestamp(),
    primary key (flow_run_id, phase)
);
comment on table metrics.phase_runs is
    'One row per run and phase that is done; settings, at day-pipeline: what was asked for.';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
