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

from loaders.catalogue import AMBIGUOUS, Match, match_merchants, nearest, read_catalogue
from loaders.days import Day
from loaders.names import person_key

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

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
class _Sort:
    """Where one sort of names lands, and where what each of them means is kept, in SQL."""

    landed: str
    said: str
    kept: str
    name: str
    match: str

    def sql(self, statement: str) -> Composed:
        """The statement with these in their places: constants, all of them."""
        from psycopg import sql

        return sql.SQL(statement).format(**{k: sql.SQL(v) for k, v in vars(self).items()})


MERCHANTS = _Sort(
    landed="raw_merchant_name, merchant_name",
    said="case when raw_merchant_name ~ '\\S' then raw_merchant_name else merchant_name end",
    kept="bronze.merchant_matches",
    name="raw_name",
    match="application",
)
USERS = _Sort("user_name", "user_name", "bronze.agent_matches", "user_name", "agent_id")


def match_names(day: Day | None, *, flow_run_id: str, lock: Lock | None = None) -> Matched:
    """Match the names of the day's landed transactions (of all landed days for None).

    A name is matched once. Looked at again are: merchants without a match, or with one that is
    gone, when the seeds have changed; those that an override names; users without a match when a
    newer list of agents has landed. It reads, disconnects, matches, and writes in one transaction;
    nothing is written when there is nothing to say. DaybookError when a seed contradicts itself,
    LockedError when `lock` was lost. DESIGN 2 and 6.
    """
    from loaders import warehouse

    def connect() -> Connection:
        return warehouse.connect(
            application_name=f"daybook {flow_run_id}",
            flow_run_id=flow_run_id,
            day=day,
            role=warehouse.LOADER,
        )

    catalogue = read_catalogue()
    with connect() as conn:
        held = conn.execute("select catalogue, agents from bronze.match_state").fetchone()
        known_catalogue, known_agents = held or (None, None)
        merchants, users = _unseen(conn, day, MERCHANTS), _unseen(conn, day, USERS)
        new = len(merchants), len(users)
        if held and known_catalogue != catalogue.hash:
            named = [sorted(catalogue.applications), sorted(catalogue.overrides)]
            merchants += _column(conn, _MERCHANTS_AGAIN, named)
        lists = conn.execute(_NEWEST_LISTS).fetchall()
        mark = ", ".join(f"{table} {batch}" for table, _, batch in lists)
        if held and known_agents != mark:
            users += _column(conn, USERS.sql("select {name} from {kept} where {match} is null"))
        agents = _agents(conn, lists) if users else []
    applications = dict(zip(merchants, match_merchants(merchants, catalogue), strict=True))
    people = dict(zip(users, match_people(users, agents), strict=True))
    if merchants or users or (catalogue.hash, mark) != held:
        with connect() as conn:
            for sort, found in ((MERCHANTS, applications), (USERS, people)):
                if found:
                    _write(conn, sort, found, flow_run_id, day)
            conn.execute(
                """
                insert into bronze.match_state (catalogue, agents) values (%s, %s)
                on conflict ("only") do update
                set catalogue = excluded.catalogue, agents = excluded.agents
                """,
                [catalogue.hash, mark],
            )
            if lock is not None:
                lock.check()
    meant = [sum(one.match is not None for one in of.values()) for of in (applications, people)]
    return Matched(new[0], meant[0], new[1], meant[1])


def match_people(names: Sequence[str], agents: Iterable[tuple[str, str]]) -> list[Match]:
    """The agent that each name means, by (agent_id, name): exactly, else nearly; none if two fit.

    The order of a person's names, initials, case and accents don't matter; names that differ in
    their initials or in a number are never near.
    """
    ids: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for agent_id, name in agents:
        ids[person_key(name)].add(agent_id)
    known: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for key, those in ids.items():
        # A name that several agents share means none of them: it stands for itself, as no id can.
        meaning = min(those) if len(those) == 1 else SHARED + " ".join(key)
        known[_bucket(key)][" ".join(key)] = meaning
    matches = []
    for name in names:
        key = person_key(name)
        text, comparable = " ".join(key), known.get(_bucket(key), {}) if key else {}
        if text in comparable:
            match = Match(comparable[text], 100.0, "exact")
        else:
            match = nearest(text, comparable, PERSON_THRESHOLD)
        matches.append(AMBIGUOUS if (match.match or "").startswith(SHARED) else match)
    return matches


def namesakes(conn: Connection, agent_id: str) -> int:
    """How many card users have the agent's name and stay, as several agents have it: they were
    matched to none of these."""
    if conn.execute("select to_regclass('silver.agents')").fetchone() == (None,):
        return 0
    named = conn.execute(
        "select name from silver.agents where agent_id = bronze.id_text(%s)", [agent_id]
    ).fetchone()
    users = conn.execute("select user_name from bronze.agent_matches where method = 'ambiguous'")
    return sum(named is not None and person_key(name) == person_key(named[0]) for (name,) in users)


def _bucket(key: tuple[str, ...]) -> tuple[str, ...]:
    """Initials, and numbers whole: only names in one bucket are compared, so that it stays fast."""
    return tuple(word if any(c.isdigit() for c in word) else word[0] for word in key)


_MERCHANTS_AGAIN = """
select raw_name from bronze.merchant_matches
where method not in ('exact', 'fuzzy') or application <> all(%s)
    or lower(regexp_replace(btrim(raw_name), '\\s+', ' ', 'g')) = any(%s)
"""
_NEWEST_LISTS = """
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
_LISTED = """
select agent_id, name
from (
    select bronze.id_text(agent_id) as agent_id, name from bronze.stg_agents
    where _day = %(stg_agents)s
    union all
    select bronze.id_text(agent_id), name from bronze.stg_agent_details
    where _day = %(stg_agent_details)s
) as listed
where name ~ '\\S' and agent_id is not null
"""


def _unseen(conn: Connection, day: Day | None, sort: _Sort) -> list[str]:
    """The landed names that are not kept yet. What lands is made distinct first: everything else
    costs a million times what it costs once."""
    return _column(
        conn,
        sort.sql(
            """
            with landed as materialized (
                select distinct {landed} from bronze.stg_transactions
                where %(day)s::date is null or _day = %(day)s::date
            ),
            names as (select distinct {said} as said from landed)
            select said from names
            where said ~ '\\S' and length(said) <= %(longest)s
                and not exists (select from {kept} as held where held.{name} = said)
            order by said
            """
        ),
        {"day": day and day.date, "longest": LONGEST_NAME},
    )


def _agents(conn: Connection, lists: list[Any]) -> list[tuple[str, str]]:
    """Who is on the newest lists, and who left: known to silver, on no newest list, they keep the
    cards' history."""
    days = {"stg_agents": None, "stg_agent_details": None} | {table: day for table, day, _ in lists}
    agents = conn.execute(_LISTED, days).fetchall()
    if conn.execute("select to_regclass('silver.agents')").fetchone() != (None,):
        agents += conn.execute("select agent_id, name from silver.agents").fetchall()
    return agents


def _column(conn: Connection, query: Any, parameters: Any = None) -> list[str]:
    return [value for (value,) in conn.execute(query, parameters).fetchall()]


def _write(
    conn: Connection, sort: _Sort, found: dict[str, Match], flow_run_id: str, day: Day | None
) -> None:
    """Keep the matches, and count them in the run metrics in the same transaction."""
    conn.execute(
        sort.sql(
            """
            with written as (
                insert into {kept} as held ({name}, {match}, score, method)
                select * from unnest(
                    %(names)s::text[], %(matches)s::text[], %(scores)s::numeric[],
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
        ),
        {
            "names": list(found),
            "matches": [each.match for each in found.values()],
            "scores": [each.score for each in found.values()],
            "methods": [each.method for each in found.values()],
            "flow_run_id": flow_run_id,
            "day": day and day.date,
            "table": sort.kept.removeprefix("bronze."),
            "asked": len(found),
        },
    )
