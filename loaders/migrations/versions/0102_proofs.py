"""What proofs came to."""

from alembic import op

revision = "0102"
down_revision = "0101"


def upgrade() -> None:
    op.execute("""
    create table metrics.proofs (
        id bigint generated always as identity primary key,
        started_at timestamptz not null,
        finished_at timestamptz not null default clock_timestamp(),
        is_equal boolean not null,
        tables int not null,
        days int not null,
        expired_days date[] not null,
        partings jsonb not null
    )
    """)
    op.execute("""
    comment on table metrics.proofs is
        'One row per proof: whether what the days built is what they build anew, and where not.'
    """)
