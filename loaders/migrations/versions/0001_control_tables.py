"""The schemas, the landing ledger and the run metrics."""

from alembic import op

revision = "0001"
down_revision = None

SCHEMAS = ("bronze", "intermediate", "silver", "quarantine", "metrics", "marts")

TABLES = """
create table bronze.calendar (
    "only" boolean primary key default true check ("only"),
    kind text not null check (kind in ('dated', 'numbered'))
);
comment on table bronze.calendar is
    'One row at most: the calendar that this warehouse holds, set by its first landing.';

create table bronze.load_batches (
    batch_id bigint generated always as identity primary key,
    flow_run_id text not null,
    day date not null,
    table_name text not null,
    source_files jsonb not null default '[]',
    fingerprint text,
    status text not null
        check (status in ('running', 'succeeded', 'unchanged', 'skipped', 'failed', 'unused')),
    rows_in_files bigint,
    rows_landed bigint,
    rows_rejected bigint,
    drift jsonb,
    error text,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
create index load_batches_by_table on bronze.load_batches (table_name, day, batch_id);
comment on table bronze.load_batches is
    'One row per attempt to land a table of a day, and per file of a day that no table uses.';

create table bronze.load_rejects (
    batch_id bigint not null references bronze.load_batches,
    table_name text not null,
    _day date not null,
    source_file text not null,
    source_row bigint,
    reason text not null,
    raw_text text,
    landed boolean not null default false
);
create index load_rejects_by_batch on bronze.load_rejects (batch_id);
create index load_rejects_by_table on bronze.load_rejects (table_name, _day);
comment on table bronze.load_rejects is
    'One row per record that could not be landed, or landed repaired.';

create table metrics.applied_batches (
    model text,
    table_name text,
    day date,
    batch_id bigint not null,
    flow_run_id text not null,
    applied_at timestamptz not null default clock_timestamp(),
    rows_landed bigint not null default 0,
    rows_inserted bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_stale bigint not null default 0,
    rows_duplicate bigint not null default 0,
    rows_quarantined bigint not null default 0,
    primary key (model, table_name, day)
);
comment on table metrics.applied_batches is
    'One row per model, landed table and day: the batch that the model holds.';

create table metrics.pipeline_metrics (
    id bigint generated always as identity primary key,
    flow_run_id text not null,
    task_name text not null,
    pipeline_name text not null,
    table_name text,
    day date,
    rows_inserted bigint not null default 0,
    rows_updated bigint not null default 0,
    rows_deleted bigint not null default 0,
    rows_unchanged bigint not null default 0,
    rows_stale bigint not null default 0,
    rows_duplicate bigint not null default 0,
    rows_quarantined bigint not null default 0,
    rows_released bigint not null default 0,
    rows_presence bigint not null default 0,
    rows_rerated bigint not null default 0,
    rows_landed bigint not null default 0,
    status text not null check (status in ('running', 'success', 'failure')),
    error_message text,
    started_at timestamptz not null,
    finished_at timestamptz,
    duration_seconds double precision,
    created_at timestamptz not null default clock_timestamp()
);
create index pipeline_metrics_by_run on metrics.pipeline_metrics (flow_run_id);
create index pipeline_metrics_by_table on metrics.pipeline_metrics (table_name, day);
comment on table metrics.pipeline_metrics is 'One row per flow run, task, table and day.';
"""


def upgrade() -> None:
    for schema in SCHEMAS:
        op.execute(f"create schema if not exists {schema}")
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
