"""Matches the day's merchant names and card users' names, each once, before anything is written.

Merchants are matched against the catalogue (loaders/catalogue.py), users against the agents on the
newest landed lists and those in silver. The matches are in `bronze.merchant_matches` and
`bronze.agent_matches`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from loaders import ledger
from loaders.catalogue import Match, match_merchants, nearest, read_catalogue, spelling
from loaders.days import Day
from loaders.lock import Lock, transaction
from loaders.names import person_key
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

PERSON_THRESHOLD = 92.0  # one slip in thirteen letters: Jon and John Smith stay two people
LONGEST_NAME = 400  # characters; longer ones are no names, and no index would hold them
# A sort of names, as its statements need it: the landed columns, the expression that is the name,
# and the table of matches with its columns.
MERCHANTS = {
    "landed": "raw_merchant_name, merchant_name",
    "value": "case when bronze.bare(raw_merchant_name) is null then merchant_name"
    " else raw_merchant_name end",
    "table": "merchant_matches",
    "name": "raw_name",
    "match": "application",
}
USERS = {
    "landed": "user_name",
    "value": "user_name",
    "table": "agent_matches",
    "name": "user_name",
    "match": "agent_id",
}

# A person's name as `person_key` writes it → the agent's id, None when several agents share it.
People = dict[str, str | None]


def match_names(day: Day | None, *, flow_run_id: str, lock: Lock | None = None) -> None:
    """Match the names of the day's landed transactions (of all landed days for None).

    A name is matched once. When the seeds have changed, merchants are matched again that have no
    match, whose application is gone, or that an override names; when a newer list of agents has
    landed, users without a match. No connection is open while names are matched; all is written
    in one transaction, nothing when nothing has changed. DaybookError when a seed contradicts
    itself, LockedError when `lock` was lost.
    """
    catalogue = read_catalogue()
    with ledger.connect(day, flow_run_id, "daybook") as conn, conn.transaction():
        state = conn.execute("select catalogue, agents from bronze.match_state").fetchone()
        context = {"day": day and day.date, "longest": LONGEST_NAME, "flow_run_id": flow_run_id}
        merchants, users = (
            _column(conn, statement("new_names").format(**sort), context)
            for sort in (MERCHANTS, USERS)
        )
        if state and state[0] != catalogue.hash:
            seeds = {"applications": sorted(catalogue.applications)}
            kept = conn.execute(statement("merchants_again").encode(), seeds).fetchall()
            decided = catalogue.overrides
            merchants += [name for name, is_open in kept if is_open or spelling(name) in decided]
        lists = conn.execute(statement("newest_lists").encode()).fetchall()
        lists_mark = ", ".join(f"{table} {batch}" for table, _, batch in lists)
        if state and state[1] != lists_mark:
            unmatched = "select user_name from bronze.agent_matches where agent_id is null"
            users += _column(conn, unmatched)
        days = {table: list_day for table, list_day, _ in lists}
        known = known_people(_agents(conn, days) if users else ())
    applications = dict(zip(merchants, match_merchants(merchants, catalogue), strict=True))
    people = dict(zip(users, match_people(users, known), strict=True))
    if merchants or users or (catalogue.hash, lists_mark) != state:
        with ledger.connect(day, flow_run_id, "daybook") as conn, transaction(conn, lock):
            for sort, meanings in ((MERCHANTS, applications), (USERS, people)):
                if meanings:
                    _save(conn, sort, meanings, context)
            conn.execute("delete from bronze.match_state")
            insert = "insert into bronze.match_state (catalogue, agents) values (%s, %s)"
            conn.execute(insert, [catalogue.hash, lists_mark])


def known_people(agents: Iterable[tuple[str, str]]) -> People:
    """The agent whom each name means, from pairs (agent_id, name)."""
    known: People = {}
    for agent_id, name in agents:
        if key := " ".join(person_key(name)):
            known[key] = agent_id if known.get(key, agent_id) == agent_id else None
    return known


def match_people(names: Sequence[str], known: People) -> list[Match]:
    """The agent that each name means: exactly, else nearly; none if two fit.

    The order of a person's names, initials, case and accents don't matter; names that differ in
    their initials or in a number are never near.
    """
    keys = [" ".join(person_key(name)) for name in names]
    near: dict[tuple[str, ...], People] = {_bucket(key): {} for key in keys if key not in known}
    for name, agent_id in known.items():
        if (bucket := near.get(_bucket(name))) is not None:
            bucket[name] = agent_id
    return [
        nearest(key, known if key in known else near[_bucket(key)], PERSON_THRESHOLD)
        for key in keys
    ]


def namesakes(conn: Connection, agent_id: str) -> int:
    """How many card users have the agent's name, but match no agent, since several share it."""
    if conn.execute("select to_regclass('silver.agents')").fetchone() == (None,):
        return 0
    agent = conn.execute(
        "select name from silver.agents where agent_id = bronze.id_text(%s)", [agent_id]
    ).fetchone()
    users = conn.execute("select user_name from bronze.agent_matches where method = 'ambiguous'")
    return sum(agent is not None and person_key(name) == person_key(agent[0]) for (name,) in users)


def _bucket(key: str) -> tuple[str, ...]:
    """Each word's first letter, apart from a word of one letter, or all of a word with digits. Only
    names of one bucket are compared."""
    return tuple(
        word if len(word) == 1 or any(c.isdigit() for c in word) else f"{word[0]}…"
        for word in key.split()
    )


def _agents(conn: Connection, lists: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(agent_id, name) of the newest lists, then of silver, which also knows those who left: cards
    still have their names."""
    queries = [statement("listed_agents")]
    if conn.execute("select to_regclass('silver.agents')").fetchone() != (None,):
        queries.append("select agent_id, name from silver.agents")
    for query in queries:
        with conn.cursor("agents") as agents:  # a server-side cursor: there may be half a million
            agents.itersize = 10_000
            days = {"stg_agents": None, "stg_agent_details": None} | lists
            yield from agents.execute(query.encode(), days)


def _save(
    conn: Connection, sort: dict[str, str], meanings: dict[str, Match], context: dict[str, Any]
) -> None:
    """Save matches. By COPY, as an array of all names could be over Postgres's limit of 1 GB."""
    conn.execute("create temporary table found (name text, match text, score numeric, method text)")
    with conn.cursor().copy("copy found from stdin") as copy:
        for name, match in meanings.items():
            copy.write_row((name, match.match, match.score, match.method))
    conn.execute(statement("keep_matches").format(**sort).encode(), context)
    conn.execute("drop table found")


def _column(conn: Connection, query: str, values: Any = None) -> list[str]:
    return [value for (value,) in conn.execute(query.encode(), values).fetchall()]
