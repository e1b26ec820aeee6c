"""What the checks found, and how long each of dbt's nodes took."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
create table metrics.check_results (
    id bigint generated always as identity primary key,
    flow_run_id text not null,
    day date not null,
    suite text not null,
    check_name text not null,
    table_name text not null,
    description text,
    severity text not null check (severity in ('error', 'warn')),
    success boolean not null,
    observed text,
    expected text,
    unexpected_count bigint,
    sample_keys jsonb not null default '[]',
    checked_at timestamptz not null default clock_timestamp()
);
comment on table metrics.check_results is
    'One row per run, day and check. sample_keys: keys of up to 20 rows, never other values.';
create index check_results_by_day on metrics.check_results (day, id);
create index check_results_by_run on metrics.check_results (flow_run_id);

create table metrics.node_runs (
    flow_run_id text not null,
    day date not null,
    node text not null,
    resource_type text not null,
    status text not null,
    started_at timestamptz,
    finished_at timestamptz,
    seconds double precision not null,
    depends_on text[] not null default '{}',
    primary key (flow_run_id, node)
);
comment on table metrics.node_runs is
    'One row per run of a day and dbt node: when it ran, and the nodes that it waited for.';
create index node_runs_by_day on metrics.node_runs (day);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
