"""The day's merchant and card users' names, each matched once, before anything is written.

Merchants are matched against the catalogue (loaders/catalogue.py), users against the agents on the
newest landed lists and those that silver knows. Kept in `bronze.merchant_matches` and
`bronze.agent_matches`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loaders.catalogue import (
    AMBIGUOUS,
    NONE,
    Catalogue,
    Match,
    alike,
    match_merchants,
    read_catalogue,
)
from loaders.days import Day
from loaders.names import person_key

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

    from loaders.lock import Lock

PERSON_THRESHOLD = 92.0  # one slip in thirteen letters: Jon and John Smith stay two people
LONGEST_NAME = 400  # characters; longer ones are no names, and no index would hold them


SHARED = "\0"  # what no id begins with


@dataclass(frozen=True)
class Matched:
    """Names seen for the first time, and names that this call found a match for."""

    merchants_new: int
    merchants_matched: int
    users_new: int
    users_matched: int


@dataclass(frozen=True)
class _ToMatch:
    """What was read: names to look at, agents to hold users to, and what is known of both."""

    merchants: list[str]
    merchants_again: list[str]
    users: list[str]
    users_again: list[str]
    agents: list[tuple[str, str]]
    held: tuple[str, str] | None  # the catalogue and the lists of agents that were asked last
    hashes: tuple[str, str]


def match_names(day: Day | None, *, flow_run_id: str, lock: Lock | None = None) -> Matched:
    """Match the names of the day's landed transactions (of all landed days for None).

    A name is matched once. Looked at again are: merchants without a match, or with one that is
    gone, when the seeds have changed; those that an override names; users without a match when a
    newer list of agents has landed. It reads, disconnects, matches, and writes in one transaction;
    nothing is written when there is nothing to say. DaybookError when a seed contradicts itself,
    LockedError when `lock` was lost. DESIGN 2 and 6.
    """
    from loaders import warehouse

    who: dict[str, Any] = {
        "application_name": f"daybook {flow_run_id}",
        "flow_run_id": flow_run_id,
        "day": day,
        "role": warehouse.LOADER,
    }
    catalogue = read_catalogue()
    with warehouse.connect(**who) as conn:
        asked = _read(conn, day, catalogue)
    merchants = asked.merchants + asked.merchants_again
    users = asked.users + asked.users_again
    applications = match_merchants(merchants, catalogue)
    agents = match_people(users, asked.agents)
    if merchants or users or asked.hashes != asked.held:
        with warehouse.connect(**who) as conn:
            _write(conn, "merchant_matches", dict(zip(merchants, applications, strict=True)), who)
            _write(conn, "agent_matches", dict(zip(users, agents, strict=True)), who)
            conn.execute(
                """
                insert into bronze.match_state (catalogue, agents) values (%s, %s)
                on conflict ("only") do update
                set catalogue = excluded.catalogue, agents = excluded.agents
                """,
                asked.hashes,
            )
            if lock is not None:
                lock.check()
    return Matched(
        len(asked.merchants),
        sum(found.match is not None for found in applications),
        len(asked.users),
        sum(found.match is not None for found in agents),
    )


def match_people(names: Sequence[str], agents: Iterable[tuple[str, str]]) -> list[Match]:
    """The agent that each name means, by (agent_id, name): exactly, else nearly; none if two fit.

    The order of a person's names, initials, case and accents don't matter; names that differ in
    their initials or in a number are never near.
    """
    ids: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for agent_id, name in agents:
        ids[person_key(name)].add(agent_id)
    # A name that several agents share means none of them: it stands for itself, as no id can.
    meanings = {
        key: min(of) if len(of) == 1 else SHARED + " ".join(key) for key, of in ids.items() if key
    }
    known: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for key, meaning in meanings.items():
        known[_bucket(key)][" ".join(key)] = meaning
    keys = {name: person_key(name) for name in names}
    asked: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key in set(keys.values()) - meanings.keys() - {()}:
        asked[_bucket(key)].append(" ".join(key))
    found = {" ".join(key): Match(meaning, 100.0, "exact") for key, meaning in meanings.items()}
    for bucket, texts in asked.items():
        found |= alike(texts, known[bucket], PERSON_THRESHOLD)
    matches = [found.get(" ".join(keys[name]), NONE) for name in names]
    return [AMBIGUOUS if (each.match or "").startswith(SHARED) else each for each in matches]


def _bucket(key: tuple[str, ...]) -> tuple[str, ...]:
    """Initials, and numbers whole: only names in one bucket are compared, so that it stays fast."""
    return tuple(word if any(c.isdigit() for c in word) else word[0] for word in key)


def _read(conn: Connection, day: Day | None, catalogue: Catalogue) -> _ToMatch:
    held = conn.execute("select catalogue, agents from bronze.match_state").fetchone()
    again: list[str] = []
    if held and held[0] != catalogue.hash:
        again = _column(
            conn,
            """
            select raw_name from bronze.merchant_matches
            where method not in ('exact', 'fuzzy') or application <> all(%s)
                or lower(regexp_replace(btrim(raw_name), '\\s+', ' ', 'g')) = any(%s)
            """,
            [sorted(catalogue.applications), sorted(catalogue.overrides)],
        )
    merchants = _unseen(
        conn,
        day,
        "case when raw_merchant_name ~ '\\S' then raw_merchant_name else merchant_name end",
        "merchant_matches",
        "raw_name",
    )
    users = _unseen(conn, day, "user_name", "agent_matches", "user_name")
    lists = conn.execute(
        """
        select distinct on (table_name) table_name, day, batch_id
        from (
            select distinct on (table_name, day) *
            from bronze.load_batches
            where table_name in ('stg_agents', 'stg_agent_details')
                and rows_landed is not null and status in ('succeeded', 'skipped')
            order by table_name, day, batch_id desc
        ) as landed
        where rows_landed > 0
        order by table_name, day desc
        """
    ).fetchall()
    mark = ", ".join(f"{table} {batch}" for table, _, batch in lists)
    users_again: list[str] = []
    if held and held[1] != mark:
        users_again = _column(
            conn, "select user_name from bronze.agent_matches where agent_id is null", []
        )
    agents: list[tuple[str, str]] = []
    if users or users_again:
        agents = [pair for table, of, _ in lists for pair in _agents(conn, table, of)]
        agents += _former_agents(conn)
    return _ToMatch(merchants, again, users, users_again, agents, held, (catalogue.hash, mark))


def _former_agents(conn: Connection) -> list[tuple[str, str]]:
    """Who left keeps the cards' history: known to silver, on no newest list."""
    if conn.execute("select to_regclass('silver.agents')").fetchone() == (None,):
        return []
    return conn.execute("select agent_id, name from silver.agents").fetchall()


def _agents(conn: Connection, table: str, day: date) -> list[tuple[str, str]]:
    from psycopg import sql

    return conn.execute(
        sql.SQL(
            """
            select bronze.id_text(agent_id), name from bronze.{}
            where _day = %s and name ~ '\\S' and bronze.id_text(agent_id) is not null
            """
        ).format(sql.Identifier(table)),
        [day],
    ).fetchall()


def _unseen(conn: Connection, day: Day | None, name: str, table: str, column: str) -> list[str]:
    """The landed names that `table` doesn't know yet."""
    from psycopg import sql

    return _column(
        conn,
        sql.SQL(
            """
            select distinct landed.name
            from (
                select {name} as name from bronze.stg_transactions
                where %(day)s::date is null or _day = %(day)s::date
            ) as landed
            where landed.name ~ '\\S' and length(landed.name) <= %(longest)s
                and not exists (
                    select from bronze.{table} as held where held.{column} = landed.name
                )
            order by landed.name
            """
        ).format(name=sql.SQL(name), table=sql.Identifier(table), column=sql.Identifier(column)),
        {"day": day and day.date, "longest": LONGEST_NAME},
    )


def _column(conn: Connection, query: Any, parameters: Any) -> list[str]:
    return [value for (value,) in conn.execute(query, parameters).fetchall()]


def _write(conn: Connection, table: str, found: dict[str, Match], who: dict[str, Any]) -> None:
    """Keep the matches, and count them in the run metrics in the same transaction."""
    from psycopg import sql

    if not found:
        return
    name, match, kind = {
        "merchant_matches": ("raw_name", "application", "text"),
        "agent_matches": ("user_name", "agent_id", "text"),
    }[table]
    conn.execute(
        sql.SQL(
            """
            with written as (
                insert into bronze.{table} as held ({name}, {match}, score, method)
                select * from unnest(
                    %(names)s::text[], %(matches)s::{kind}[], %(scores)s::numeric[],
                    %(methods)s::text[]
                )
                on conflict ({name}) do update
                set {match} = excluded.{match}, score = excluded.score, method = excluded.method,
                    matched_at = clock_timestamp()
                where (held.{match}, held.score, held.method)
                    is distinct from (excluded.{match}, excluded.score, excluded.method)
                returning (xmax = 0) as inserted
            )
            insert into metrics.pipeline_metrics (
                flow_run_id, task_name, pipeline_name, table_name, day, rows_inserted,
                rows_updated, rows_unchanged, status, started_at, finished_at, duration_seconds
            )
            select
                %(flow_run_id)s, 'match-names', 'matching', %(table)s, %(day)s,
                count(*) filter (where inserted), count(*) filter (where not inserted),
                %(asked)s - count(*), 'success', now(), clock_timestamp(),
                greatest(extract(epoch from clock_timestamp() - now()), 0.000001)
            from written
            """
        ).format(
            table=sql.Identifier(table),
            name=sql.Identifier(name),
            match=sql.Identifier(match),
            kind=sql.SQL(kind),
        ),
        {
            "names": list(found),
            "matches": [each.match for each in found.values()],
            "scores": [each.score for each in found.values()],
            "methods": [each.method for each in found.values()],
            "flow_run_id": who["flow_run_id"],
            "day": who["day"] and who["day"].date,
            "table": table,
            "asked": len(found),
        },
    )
