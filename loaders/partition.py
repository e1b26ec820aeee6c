"""A day's partition of a landed table: made beside the old one, filled by COPY, then swapped in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from loaders.days import Day
from loaders.errors import DaybookError
from loaders.forget import eraser_of_landing
from loaders.ledger import Batch
from loaders.slices import Slice

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

# Readers of the old partition are waited for in short turns: those that come later queue behind
# the wait, and giving up at once would lose the whole COPY.
SWAP_WAIT = "2s"
SWAP_TURNS = 15
# A key as it is compared; null when it can't be read: no id, or what pandas writes for none.
_READ = "case when lower({0}) <> 'nan' then bronze.id_text({0}) end"
# Whether a column's value switches its record off, whatever its case and its blanks.
_BARE = "translate(lower({}), E' \\t\\r\\n', '')"
_SWITCHES_OFF = f"{_BARE} = {_BARE}"
COMPARED = 100  # of a list's elements: each is looked for in all of the other
# What the lists of a key's records have, near enough to be compared.
_LISTED = (
    "array_remove(string_to_array(regexp_replace("
    "string_agg(case when {0} ~ '^\\s*[[]' then {0} end, ','), "
    "'[][\\s\"]|\\.0+(?=[]\",])', '', 'g'), ','), '')"
)


def partition_name(table: str, day: Day) -> str:
    """`stg_agents_p20260105`"""
    return f"{table}_p{day.date:%Y%m%d}"


class Compared(NamedTuple):
    """A snapshot beside an earlier landed day: its rows and keys that can be read, those that the
    earlier day has, and those of both; of each switch, its columns, the earlier day's keys that are
    on, and those that still are."""

    rows: int
    readable: int
    known: int
    shared: int
    switches: list[tuple[str, int, int]]


class Leaf(NamedTuple):
    """Which of several tables that make a day's, and where in the files it begins and ends: at a
    path and a record's number, None where nothing is before or behind it."""

    number: int
    begin: tuple[str, int] | None
    end: tuple[str, int] | None


def leaves(shares: Sequence[Sequence[Slice]]) -> list[Leaf]:
    """One for each share of the files, in the files' order."""
    begins = [(part.scanned.file.path, part.first or 0) for part, *_ in shares[1:]]
    return [Leaf(number, *ends) for number, ends in enumerate(pairwise([None, *begins, None]))]


class NewPartition:
    """A table like the parent that nobody else sees; all of it in the caller's transaction.

    Lineage comes from column defaults, so a CSV's bytes go to COPY as they are. COPY may freeze,
    since the table is made in the same transaction: a reader with an older snapshot sees the new
    rows rather than none.
    """

    def __init__(self, conn: Connection, batch: Batch, leaf: Leaf | None = None) -> None:
        """`leaf`: it is one of several, that `assemble` makes the day's of."""
        self._conn, self.batch = conn, batch
        self._table, self._day = batch.table, batch.day
        # tables and columns are named by small letters, digits and _: the declaration is checked
        self._names = {
            "new": f"bronze.{_new_name(batch, leaf and leaf.number)}",
            "parent": f"bronze.{self._table.name}",
            "name": partition_name(self._table.name, self._day),
            "day": f"'{self._day.date}'",
            # what landed rows are found, joined and sorted by: of each column it costs as COPY does
            "compared": _listed([*self._table.key, "_day", "_batch_id", "_source_file"]),
            "share": f", constraint its_share check ({self._within(leaf)})" if leaf else "",
        }

    def _run(self, statement: str, **more: Any) -> Cursor[Any]:
        return self._conn.execute(statement.format(**self._names | more).encode())

    def _literal(self, value: Any) -> str:
        from psycopg import sql

        return sql.Literal(value).as_string(self._conn)

    def _within(self, leaf: Leaf) -> str:
        """What is true of a leaf's rows, as the server itself says it: it need not look at them
        again when the leaf is attached."""
        (path, row), (end, until) = (
            (self._literal(edge[0]), edge[1]) if edge else ("", 0) for edge in leaf[1:]
        )
        file = '_source_file collate "C"'
        if path == end:
            return f"{file} = {path} and _source_row >= {row} and _source_row < {until}"
        edges = [(">", path, ">=", row)] * bool(path) + [("<", end, "<", until)] * bool(end)
        return " and ".join(
            f"({file} {beyond} {path} or ({file} = {path} and _source_row {sign} {row}))"
            for beyond, path, sign, row in edges
        )

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Make it, empty, for the block's COPY; an error in the block leaves none."""
        with self._conn.transaction():
            # Cached, a number costs no lock; temporary, the sequence is never logged and ends with
            # the session.
            self._run(
                "create table {new} (like {parent},"
                " constraint one_day check (_day = {day}){share});"
                "create temporary sequence landed_rows cache 10000;"
                "alter table {new} alter _day set default {day},"
                " alter _batch_id set default {batch}, alter _loaded_at set default {loaded_at},"
                " alter _source_row set default nextval('pg_temp.landed_rows')",
                batch=self.batch.id,
                loaded_at=self._literal(self.batch.started_at),
            )
            yield
            self._run(
                "alter table {new} alter _day drop default, alter _batch_id drop default,"
                " alter _loaded_at drop default, alter _source_row drop default,"
                " alter _source_file drop default;"
                "drop sequence landed_rows;"
                "set local default_statistics_target = 20; analyze {new} ({compared})"
            )

    def assemble(self, leaves: Sequence[Leaf]) -> None:
        """Make it of its leaves."""
        self._run(
            "create table {new} (like {parent}, constraint one_day check (_day = {day}))"
            ' partition by range (_source_file collate "C", _source_row)'
        )
        for leaf in leaves:
            self._run(
                "alter table {new} attach partition {new}_{leaf} for values from ({a}) to ({z});"
                "alter table {new}_{leaf} drop constraint its_share",
                leaf=leaf.number,
                a=self._bound(leaf.begin, "minvalue"),
                z=self._bound(leaf.end, "maxvalue"),
            )

    def _bound(self, edge: tuple[str, int] | None, none: str) -> str:
        return f"{self._literal(edge[0])}, {edge[1]}" if edge else f"{none}, {none}"

    def copy_bytes(self, part: Slice, columns: Sequence[str], pieces: Iterable[bytes]) -> int:
        """COPY a CSV's bytes unparsed; rows landed. psycopg.DataError when Postgres refuses."""
        self._run(
            "alter sequence landed_rows restart with {first};"
            "alter table {new} alter _source_file set default {path}",
            first=part.first or 1,
            path=self._literal(part.scanned.file.path),
        )
        options = f"header {not part.start}, delimiter {self._literal(self._table.delimiter)}"
        return self._copy(columns, f"{options}, force_null ({_listed(columns)})", pieces)

    def copy_pieces(self, pieces: Iterable[bytes]) -> int:
        """COPY rows that bring their lineage, NULL being a bare null; rows landed."""
        columns = [*self._table.column_names, "_extra", "_source_file", "_source_row"]
        return self._copy(columns, "null 'null'", pieces)

    def _copy(self, columns: Sequence[str], options: str, pieces: Iterable[bytes]) -> int:
        into = f"copy {self._names['new']} ({_listed(columns)}) from stdin"
        cursor = self._conn.cursor()
        with cursor.copy(f"{into} (format csv, freeze true, {options})".encode()) as copy:
            for piece in pieces:
                copy.write(piece)
        return cursor.rowcount

    def compared(self, before: Day | None) -> Compared:
        """The new rows beside those of an earlier landed day."""
        dated = {column.name for column in self._table.columns if column.data_type == "date"}
        # a list of days has other dates each day: what it is about is in the rest of its key
        key = [name for name in self._table.key if name not in dated] or self._table.key
        values = ", ".join(_READ.format(f'"{name}"') for name in key)
        flags = [one for one in self._table.columns if one.switches_off]
        lists = [one.name for one in flags if one.data_type == "jsonb"]
        flags = [one for one in flags if one.data_type != "jsonb"]
        off = [_SWITCHES_OFF.format(f'"{f.name}"', self._literal(f.switches_off)) for f in flags]
        # of each switch: its columns, what is looked at, whether it was on, and whether it still is
        switches = [
            (
                ", ".join(flag.name for flag in flags),
                f"bool_and(({' or '.join(off) or 'false'}) is not true)",
                "earlier.on_0",
                "fresh.on_0",
            )
        ]
        for at, name in enumerate(lists, start=1):
            # it has something of what it had; without a list it says nothing
            still = f"(fresh.on_{at} is null or fresh.on_{at} && earlier.on_{at}[1:{COMPARED}])"
            what = _LISTED.format(f'"{name}"')
            switches.append((name, what, f"cardinality(earlier.on_{at}) > 0", still))
        shown = "".join(f", {what} as on_{at}" for at, (_, what, *_) in enumerate(switches))
        readable = "select array[{values}] as key{shown} from {%s} where row({values}) is not null"
        counted = "".join(
            f", count(*) filter (where {was})"
            f", count(*) filter (where {was} and fresh.on_0 is not null and {still})"
            for _, _, was, still in switches
        )
        [(rows, keys, known, shared, on)] = self._run(
            f"with fresh as materialized ({readable % 'new'} group by 1),"
            f" earlier as materialized ({readable % 'parent'} and _day = {{before}} group by 1)"
            " select (select count(*) from {new}), count(fresh), count(earlier),"
            " count(*) filter (where fresh.on_0 is not null and earlier.on_0 is not null)"
            ", array[{counted}] from fresh full join earlier using (key)",
            before=self._literal(before and before.date),
            values=values,
            shown=shown,
            counted=counted[2:],
        )
        told = zip([name for name, *_ in switches], on[::2], on[1::2], strict=True)
        return Compared(rows, keys, known, shared, list(told))

    def swap_in(self) -> None:
        """Takes the day's place, without who is forgotten; the parent is locked to the commit.
        DaybookError where readers hold the old one through all turns."""
        import psycopg

        if eraser := eraser_of_landing(self._conn):
            eraser.landed(self._table, self._names["new"])
        self._give_to_owner()
        self._run(f"set local lock_timeout = '{SWAP_WAIT}'")
        for turn in range(SWAP_TURNS):
            # a deadlock: with a reader that has the old partition and waits for the parent
            try:
                with self._conn.transaction():
                    self._run(
                        "drop table if exists bronze.{name}; alter table {new} rename to {name};"
                        "alter table {parent} attach partition bronze.{name} for values in ({day});"
                        "alter table bronze.{name} drop constraint one_day"
                    )
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                time.sleep(0.02 * turn)
        raise DaybookError(
            f"{self._table.name}: a reader held it for more than half a minute, so the new rows "
            "could not take their place. Land the day again."
        )

    def _give_to_owner(self) -> None:
        """The next login that lands must be able to drop it: it belongs to the parent's owner."""
        owner = self._conn.execute(
            "select quote_ident(pg_get_userbyid(relowner)) from pg_class"
            " where oid = to_regclass(%s)"
            " and relowner <> current_user::regrole and pg_has_role(relowner, 'SET')",
            [self._names["parent"]],
        ).fetchone()
        if owner:
            self._run("alter table {new} owner to {owner}", owner=owner[0])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _new_name(batch: Batch, leaf: int | None = None) -> str:
    name = f"{partition_name(batch.table.name, batch.day)}_{batch.id}"
    return name if leaf is None else f"{name}_{leaf}"


def has_partition(conn: Connection, table: str, day: Day) -> bool:
    """Whether the day's partition is there."""
    name = f"bronze.{partition_name(table, day)}"
    return conn.execute("select to_regclass(%s) is not null", [name]).fetchone() == (True,)


def drop_partition(conn: Connection, table: str, day: Day) -> bool:
    """Drops the day's partition, in the caller's transaction; False when there is none."""
    if found := has_partition(conn, table, day):
        conn.execute(f"drop table bronze.{partition_name(table, day)}".encode())
    return found


def drop_leaves(conn: Connection, batch: Batch) -> None:
    """Drops what workers have committed of a batch that fails, unless it is the day's by now."""
    found = conn.execute(
        "select relname from pg_class where relnamespace = 'bronze'::regnamespace"
        " and not relispartition and relname ~ %s",
        [f"^{_new_name(batch)}_[0-9]+$"],
    ).fetchall()
    for (name,) in found:
        conn.execute(f"drop table bronze.{name}".encode())
