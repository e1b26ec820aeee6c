"""The reference rates, and what names were matched to."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
create table bronze.fx_reference (
    rate_date date not null,
    currency text not null,
    usd_per_unit numeric not null check (usd_per_unit > 0),
    primary key (currency, rate_date)
);
comment on table bronze.fx_reference is
    'One row per currency and date that the European Central Bank quoted.';

create table bronze.fx_reference_state (
    "only" boolean primary key default true check ("only"),
    version text not null,
    newest_date date not null,
    rows bigint not null,
    loaded_at timestamptz not null default clock_timestamp()
);
comment on table bronze.fx_reference_state is 'One row: which history of rates is loaded.';

create table bronze.merchant_matches (
    raw_name text primary key,
    application text,
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp()
);
comment on table bronze.merchant_matches is
    'One row per raw merchant name, with the application it was matched to, if any.';

create table bronze.agent_matches (
    user_name text primary key,
    agent_id bigint,
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp()
);
comment on table bronze.agent_matches is
    'One row per name of a card user, with the agent it was matched to, if any.';

create table bronze.match_state (
    kind text primary key,
    version text not null,
    matched_at timestamptz not null default clock_timestamp()
);
comment on table bronze.match_state is
    'One row per kind of name: which catalogue its matches were made with.';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
