-- What was built from what landed, and what runs, checks, nodes and proofs left.
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
    'One row per model, landed table and day: the batch it holds, and how often it was judged. '
    'A row of the table mark, on 1970-01-01, is no batch: by it a model sees that rates, or who is known, have changed.';

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

create table metrics.proofs (
    id bigint generated always as identity primary key,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    is_equal boolean not null,
    tables int not null,
    days int not null,
    expired_days date[] not null,
    partings jsonb not null
);
comment on table metrics.proofs is
    'One row per proof: whether what the days built is what they build anew, and where not.';

create table metrics.current_day (
    "only" boolean primary key default true check ("only"),
    day date,
    flow_run_id text not null,
    is_complete boolean not null,
    changed_at timestamptz not null default clock_timestamp()
);
comment on table metrics.current_day is
    'One row: the newest day of silver, metrics and marts, and whether they are of one build.';
