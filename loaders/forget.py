"""Forgets a person: erases them from all that the warehouse keeps, and from whatever lands later.

Salted hashes of what names them stay in `bronze.forgotten`; each table that lands is held against
these. Their records stay in the account: an agent's as an empty row, quarantined as `forgotten`; a
transaction or a card without its user. So counts and sums stay, and silver still follows bronze.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from loaders.errors import DaybookError, UsageError
from loaders.schema import Table
from loaders.sources import declared_tables
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection

# Texts that may quote a row: relation, column, SQL of what replaces them.
TEXTS = (
    ("bronze.load_rejects", "raw_text", "null"),
    ("bronze.load_rejects", "source_file", "'forgotten'"),
    ("bronze.load_batches", "error", "'forgotten'"),
    ("bronze.load_batches", "drift", "null"),
    ("metrics.check_results", "sample_keys", "'[]'"),
    ("metrics.check_results", "observed", "'forgotten'"),
    ("metrics.pipeline_metrics", "error_message", "'forgotten'"),
    ("metrics.proofs", "partings", "'[]'"),
)


def forget(conn: Connection, agent_id: str) -> dict[str, int]:
    """Erase a person in the caller's transaction, under the run lock; the rows by relation.

    UsageError for what is no id, DaybookError when nothing here names such an agent.
    """
    [(agent,)] = conn.execute("select bronze.id_text(%s)", [agent_id]).fetchall()
    if agent is None:
        raise UsageError("That is no agent's id.")
    relations = conn.execute(statement("built_relations").encode()).fetchall()
    built = {relation: set(columns) for relation, columns in relations}
    is_new = _remember(conn, agent, built)
    eraser = Eraser(conn)
    tables = declared_tables().values()
    for table in tables:
        eraser.landed(table, f"bronze.{table.name}")
    for relation, columns in built.items():
        if "_outcome" in columns:
            for table in tables:
                eraser.records(table, relation, columns)
        else:
            eraser.built(relation, columns)
    matched = _names_forgotten({"agent_id": "agent", "user_name": "user"})
    eraser.run("bronze.agent_matches", f"delete from bronze.agent_matches where {matched}")
    eraser.texts()
    if is_new and not eraser.rows:
        raise DaybookError("Nothing here tells of an agent with that id.")
    return eraser.rows


def eraser_of_landing(conn: Connection) -> Eraser | None:
    """The eraser for a table that lands, before anybody sees it; None if nobody is forgotten."""
    forgotten = conn.execute("select from bronze.forgotten limit 1").fetchone()
    return None if forgotten is None else Eraser(conn)


class Eraser:
    """Erases the forgotten in the caller's transaction; `rows` counts the changes by relation."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.rows: Counter[str] = Counter()

    def run(self, relation: str, change: str) -> None:
        """Execute a change, and count its rows as the relation's."""
        if changed := max(0, self._conn.execute(change.encode()).rowcount):
            self.rows[relation] += changed

    def _set(self, relation: str, values: dict[str, str], columns: set[str], where: str) -> None:
        sets = (f'"{name}" = {value}' for name, value in values.items() if name in columns)
        self.run(relation, f"update {relation} set {', '.join(sets)} where {where}")

    def landed(self, table: Table, relation: str) -> None:
        """Erase from a landed table, or from a new partition of it."""
        columns = {*table.column_names, "_extra", "_source_file"}
        self._blank(table, relation, columns, list_type="text")

    def _blank(
        self,
        table: Table,
        relation: str,
        columns: set[str],
        where: str = "true",
        list_type: str = "jsonb",
    ) -> None:
        """Blank a relation's rows that name the forgotten, by the table's columns, and take them
        off its lists; `where`: which rows are the table's."""
        if named := _named(columns, table):
            forgotten = f"{where} and ({_names_forgotten(named)})"
            self._set(relation, _blanked(table), columns, forgotten)
        for name in _lists(table) if "_landed" in columns else columns.intersection(_lists(table)):
            landed = f"_landed ->> '{name}'" if "_landed" in columns else f'"{name}"::text'
            values = {
                name: f'bronze.without_forgotten("{name}"::text)::{list_type}',
                "_member_ids": _MEMBERS,
                "_landed": f"_landed || jsonb_build_object('{name}',"
                f" bronze.without_forgotten({landed}))",
                "_updated_at": "now()",
            }
            forgotten = f"{where} and bronze.tells_of_forgotten({landed})"
            self._set(relation, values, columns, forgotten)

    def records(self, table: Table, relation: str, columns: set[str]) -> None:
        """Erase from a landed table's rows among the records, as if they were typed anew."""
        where = f"_source_table = '{table.name}'"
        is_list = bool(_lists(table)) and not _named(table.column_names, table)
        if is_list and (ids := _named(columns, *declared_tables().values())):
            forgotten = f"{where} and ({_names_forgotten(ids)})"
            self.run(relation, f"delete from {relation} where {forgotten}")
        self._blank(table, relation, columns, where)
        if columns.issuperset({"_hash", *table.column_names}):
            judge = statement("judge_changed").format(
                records=relation,
                table=table.name,
                key=", ".join(table.key),
                values=", ".join(f'"{n}"' for n in table.column_names if n not in table.key),
            )
            self._conn.execute(judge.encode())

    def built(self, relation: str, columns: set[str]) -> None:
        """Erase from a relation that models build: a row about a forgotten agent is deleted, any
        other row stays without their names."""
        tables = [*declared_tables().values()]
        own = [table for table in tables if relation == f"silver.{table.entity}"]
        named = _named(columns, *(own or tables))
        agents = {name: kind for name, kind in named.items() if kind == "agent"}
        if agents and (not own or any(map(_is_of_person, own))):
            self.run(relation, f"delete from {relation} where {_names_forgotten(agents)}")
        else:
            for table in own or tables:
                self._blank(table, relation, columns)

    def texts(self, batch_id: int | None = None) -> None:
        """Erase from messages, raw text and paths: all of them, or those of one batch."""
        of_batch = f"batch_id = {batch_id or 'batch_id'}"
        for relation, column, replacement in TEXTS:
            where = f"bronze.tells_of_forgotten({column}::text)"
            if relation.startswith("bronze."):
                where += f" and {of_batch}"
            elif batch_id is not None:
                continue
            self._set(relation, {column: replacement}, {column}, where)
        self.run("bronze.load_batches", statement("forget_paths").format(of_batch))


def _named(columns: Iterable[str], *tables: Table) -> dict[str, str]:
    """The columns that name one person, as the tables are declared → `agent` or `user`."""
    return {
        column.name: column.pii
        for table in tables
        for column in table.columns
        if column.pii in ("agent", "user")
        and column.data_type != "jsonb"
        and column.name in columns
    }


def _lists(table: Table) -> list[str]:
    """The columns with a list of agents."""
    listing = [column for column in table.columns if column.pii in ("agent", "user")]
    return [column.name for column in listing if column.data_type == "jsonb"]


def _is_of_person(table: Table) -> bool:
    """Whether a row is about an agent, and not about something that an agent has."""
    return "agent" in _named(table.key, table).values()


def _blanked(table: Table) -> dict[str, str]:
    """What is left of a record that names a forgotten person: SQL by column. An empty record is
    known by its _extra, a JSON string: in any other it is an object or null."""
    pii = [one.name for one in table.columns if one.pii and one.name not in _lists(table)]
    values = {
        "_source_file": "case when bronze.tells_of_forgotten(_source_file) then 'forgotten'"
        " else _source_file end",
        "_updated_at": "now()",
    }
    if not _is_of_person(table):
        landed = f"_landed - '{{{','.join([*pii, '_extra'])}}}'::text[]"
        return values | dict.fromkeys([*pii, "_extra"], "null") | {"_landed": landed}
    values |= dict.fromkeys([*table.column_names, "_landed"], "null")
    values |= {"_errors": "'{forgotten}'", "_outcome": "'quarantined'"}
    return values | {"_extra": """'"forgotten"'"""}


def _names_forgotten(ids: dict[str, str]) -> str:
    """SQL: whether a row names a forgotten agent or card user; one look-up for each column."""
    salt = "(select salt from bronze.forgotten limit 1)"
    return " or ".join(
        f"sha256(convert_to({salt} || '{kind} ' || {_normal(name)}, 'UTF8'))"
        " in (select hash from bronze.forgotten)"
        for name, kind in ids.items()
    )


def _normal(name: str) -> str:
    return f'coalesce(bronze.id_text("{name}"::text), "{name}"::text)'


def _remember(conn: Connection, agent: str, built: dict[str, set[str]]) -> bool:
    """Keep hashes of what names the agent, as a card's user too; whether the id is a new one."""
    matched = "select user_name from bronze.agent_matches where agent_id = %s"
    users = [name for (name,) in conn.execute(matched, [agent]).fetchall()]
    known = {("agent", agent), *(("user", name) for name in users)}
    for table in declared_tables().values():
        ids = _named(table.column_names, table)
        kinds = ("user", "personal") if _is_of_person(table) else ("user",)
        naming = [f"('{c.pii}', {_normal(c.name)})" for c in table.columns if c.pii in kinds]
        relations = [f"bronze.{table.name}", f"intermediate.int_{table.entity}_records"]
        if not built.get(relations[1], set()).issuperset(table.column_names):
            relations.pop()
        for relation in relations if ids and naming else ():
            where = " or ".join(f"{_normal(name)} = any(%({kind})s)" for name, kind in ids.items())
            query = f"""
                select distinct names.* from {relation}
                cross join lateral (values {", ".join(naming)}) as names (_kind, _value)
                where ({where}) and bronze.bare(_value) is not null
            """
            known.update(conn.execute(query.encode(), {"agent": [agent], "user": users}).fetchall())
    [(was_known,)] = conn.execute("select bronze.is_forgotten('agent', %s)", [agent]).fetchall()
    kinds, values = zip(*known, strict=True)
    conn.execute(
        statement("remember_forgotten").encode(),
        {"salt": secrets.token_hex(16), "kinds": [*kinds], "values": [*values]},
    )
    return not was_known


_MEMBERS = """(
    select case when _member_ids is not null then coalesce(array_agg(id order by place), '{}') end
    from unnest(_member_ids) with ordinality as members (id, place)
    where not bronze.is_forgotten('agent', id)
)"""
