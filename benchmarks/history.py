"""A day's build on histories of different length.

Runs only when it is named: `python -m benchmarks history` (an hour, 25 GB of disk).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, build, scratch_warehouse
from loaders.days import parse_day
from loaders.landing import land_day
from loaders.match import match_names
from loaders.rates import refresh_rates

if TYPE_CHECKING:
    from psycopg import Connection

A_MONTH = 1_000_000
ROUNDS = 3
NODES = ("transactions", "int_spend_monthly", "application_spend_monthly", "unused_access")
# One month of history, :back months before the day's own: records, and what silver and the marts
# made of them.
FILL = """
insert into intermediate.int_transactions_records (
    transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id,
    user_name, raw_merchant_name, card_id, budget_id, amount_minor, child_transaction_ids,
    exponent, currency, original_amount, idempotency_key, fx_source, fx_rate,
    fx_date, amount_usd, _outcome, _errors,
    _hash, _source_table, _day, _batch_id, _source_file, _source_row, _updated_at
)
select ('h' || :back || '-' || i) as transaction_id, md5(i::text) as transaction_uuid,
    case when i % 20 = 0 then 'AUTHORIZATION' else 'CLEARING' end,
    timestamptz ':month UTC' + i % 2400000 * interval '1 second',
    timestamptz ':month UTC' + interval '40 days',
    'u' || i % 5000, 'User ' || i % 5000, 'AMZN Mktp*' || i % 9999, 'c' || i % 8000, 'b' || i % 900,
    i % 100000,
    case when i % 20 = 0 then jsonb_build_array('h' || :back || '-' || i + 1) else '[]' end,
    2, 'USD', (i % 100000)::numeric / 100, md5(i::text) || md5(i::text), 'usd', 1, date ':month',
    (i % 100000)::numeric / 100, 'inserted', '{}', i, 'stg_transactions', date ':month', 1,
    'transactions.csv', i, now()
from generate_series(1, :rows) as i;
insert into silver.transactions (
    transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id,
    user_name, raw_merchant_name, card_id, budget_id, amount_minor, child_transaction_ids,
    exponent, currency, original_amount, original_currency, exchange_rate, amount_usd,
    fx_source, fx_date,
    idempotency_key, _day, _batch_id, _source_file, _source_row, _updated_at
)
select transaction_id, transaction_uuid, transaction_type, occurred_time, updated_time, user_id,
    user_name, raw_merchant_name, card_id, budget_id, amount_minor, child_transaction_ids,
    exponent, currency, original_amount, currency, fx_rate, amount_usd,
    fx_source, fx_date,
    idempotency_key, _day, _batch_id, _source_file, _source_row, _updated_at
from intermediate.int_transactions_records where _day = date ':month';
insert into intermediate.int_transactions_named
select 'h' || :back || '-' || i + 1, date ':month' from generate_series(20, :rows, 20) as i;
insert into intermediate.int_spend_monthly
select date ':month', 'unmatched', 'u' || i, 'User ' || i, 100, 200, true, max(held.catalogue)
from generate_series(0, 4999) as i cross join intermediate.int_spend_monthly as held group by i;
insert into bronze.merchant_matches (raw_name, method)
select 'AMZN Mktp*' || i, 'none' from generate_series(0, 9998) as i on conflict do nothing;
"""


def run(folder: Path, *, quick: bool, rows: int | None = None) -> list[Measure]:
    """`rows`: no history of more."""
    lengths, delta = ((1, 3), 200) if quick else ((1, 10, 50), 100_000)
    most, rows = rows, 2_000 if quick else A_MONTH
    lengths = [length for length in lengths if most is None or length * rows <= most]
    data = folder / "data"
    took: dict[int, dict[str, float]] = {}
    with scratch_warehouse(folder) as conn:
        refresh_rates()
        number = _day(data, 0, range(rows))
        build("build", "--exclude-resource-type", "unit_test", "test", day=day_text(number))
        filled = 0
        for length in lengths:
            for back in range(filled + 1, length):
                _fill(conn, back, rows)
            filled = length
            conn.execute("vacuum analyze")
            rounds = []
            for _turn in range(1 if quick else ROUNDS + 1):
                first = rows + number * delta // 2 - delta // 2
                number = _day(data, number + 1, range(first, first + delta))
                conn.execute("checkpoint")
                rounds.append(
                    build("build", "--exclude-resource-type", "unit_test", day=day_text(number))
                )
            # the first of them adds up the months that were filled
            took[length] = _median(rounds[1:] or rounds)
    short, *longer = lengths
    found = []
    for length in longer:
        size = f"{delta:,} into {rows * length:,} rows"
        whole, month = (sum(took[each].values()) for each in (length, short))
        what = "a day's build against a month of history"
        found.append(Measure("history", what, size, whole, month, "<= 1.15"))
        for name in NODES:
            parts = took[length][name], took[short][name]
            found.append(Measure("history", f"of it: {name}", size, *parts))
    return found


def _day(data: Path, number: int, transactions: range) -> int:
    write_day(data, number, transactions=transactions, groups=1_000, agents=1_000)
    land_day(data, parse_day(day_text(number)))
    match_names(parse_day(day_text(number)), flow_run_id="bench")
    return number


def _fill(conn: Connection, back: int, rows: int) -> None:
    # 2025-05 is the month of the days' own transactions
    year, month = divmod(2025 * 12 + 4 - back, 12)
    text = FILL.replace(":back", str(back)).replace(":rows", str(rows))
    text = text.replace(":month", f"{year}-{month + 1:02}-01").replace(":day", day_text(0))
    for statement in text.split(";\n"):
        if statement.strip():
            conn.execute(statement)


def _median(rounds: list[dict[str, float]]) -> dict[str, float]:
    ordered = sorted(rounds, key=lambda nodes: sum(nodes.values()))
    return ordered[len(ordered) // 2]
