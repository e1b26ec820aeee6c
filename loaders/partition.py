"""A day's partition of a landed table: made beside the old one, filled by COPY, then swapped in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loaders.days import Day
from loaders.errors import DaybookError
from loaders.forget import eraser_of_landing
from loaders.ledger import Batch, landed_days
from loaders.raw_file import RawFile
from loaders.sql import statement

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

# Readers of the old partition are waited for in short turns: those that come later queue behind
# the wait, and giving up at once would lose the whole COPY.
SWAP_WAIT = "2s"
SWAP_TURNS = 15
# A key's value; null when it can't be read: it is no id, or it is what pandas writes for none.
_READABLE = "case when lower({0}) <> 'nan' then bronze.id_text({0}) end"
# Whether a column's value switches its record off, whatever its case (a Turkish I too) and blanks.
_BARE = "lower(translate({}, E'I \\t\\r\\n', 'i'))"
SWITCHES_OFF = f"{_BARE} = {_BARE}"
ELEMENTS_COMPARED = 100  # of the earlier list: each is searched for in all of the new one
# The elements of all lists that a key's records have, near enough to be compared.
_ELEMENTS = r"""array_remove(string_to_array(regexp_replace(string_agg(
    case when {0} ~ '^\s*[[]' then {0} end, ','), '[][\s"]|\.0+(?=[]",])', '', 'g'), ','), '')"""


def partition_name(table: str, day: Day) -> str:
    """`stg_agents_p20260105`"""
    return f"{table}_p{day.date:%Y%m%d}"


class Compared(NamedTuple):
    """A snapshot compared with what was there earlier (`against`): its rows, its readable keys, the
    earlier keys (`known`), and the keys of both (`shared`). `switches` has, for each way in which a
    record is switched off, the columns, how many earlier keys are on, and how many still are."""

    against: str
    rows: int
    readable: int
    known: int
    shared: int
    switches: list[tuple[str, int, int]]


class NewPartition:
    """A table like the parent. Nobody else sees it until the caller's transaction commits.

    Lineage comes from column defaults, so a CSV's bytes go to COPY unchanged. COPY may freeze,
    since the same transaction makes the table: a reader with an older snapshot sees the new rows
    rather than none.
    """

    def __init__(self, conn: Connection, batch: Batch, leaf: int | None = None) -> None:
        """With the number of a `leaf` it is only that one of the tables that together hold the day:
        `assemble` makes its partition of them."""
        self._conn, self.batch = conn, batch
        self._table, self._day = batch.table, batch.day
        # tables and columns are named by small letters, digits and _: the declaration is checked
        self._names = {
            "new": f"bronze.{_new_name(batch, leaf)}",
            "parent": f"bronze.{self._table.name}",
            "name": partition_name(self._table.name, self._day),
            "day": f"'{self._day.date}'",
            # what rows are found, joined and sorted by: analyzing every column costs what COPY does
            "analyzed": _listed([*self._table.key, "_day", "_batch_id", "_source_file"]),
            "loaded_at": (moment := self._moment(leaf or 0)),
            # by a check the server knows the leaf's rows, and need not read them to attach it
            "share": f", constraint its_share check (_loaded_at = {moment})" * (leaf is not None),
        }

    def _run(self, template: str, **more: Any) -> Cursor[Any]:
        return self._conn.execute(template.format(**self._names | more).encode())

    def _literal(self, value: Any) -> str:
        from psycopg import sql

        return sql.Literal(value).as_string(self._conn)

    def _moment(self, leaf: int) -> str:
        """SQL: the `_loaded_at` of a leaf's rows, by which the day's partition is divided."""
        return self._literal(self.batch.started_at + timedelta(microseconds=leaf))

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Make the empty table for the block's COPY; an error in the block takes it back."""
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
            )
            yield
            self._run(
                "alter table {new} alter _day drop default, alter _batch_id drop default,"
                " alter _loaded_at drop default, alter _source_row drop default,"
                " alter _source_file drop default;"
                "drop sequence landed_rows;"
                "set local default_statistics_target = 20; analyze {new} ({analyzed})"
            )

    def assemble(self, leaves: int) -> None:
        """Make the day's partition of so many leaves, which become partitions of it."""
        self._run(
            "create table {new} (like {parent}, constraint one_day check (_day = {day}))"
            " partition by list (_loaded_at)"
        )
        for leaf in range(leaves):
            self._run(
                "alter table {new} attach partition {new}_{leaf} for values in ({moment});"
                "alter table {new}_{leaf} drop constraint its_share",
                leaf=leaf,
                moment=self._moment(leaf),
            )

    def copy_bytes(self, part: RawFile, columns: Sequence[str], pieces: Iterable[bytes]) -> int:
        """COPY a CSV's bytes unparsed; returns the number of rows. psycopg.DataError: refused."""
        self._run(
            "alter sequence landed_rows restart with {first};"
            "alter table {new} alter _source_file set default {path}",
            first=part.first or 1,
            path=self._literal(part.path),
        )
        options = f"header {not part.start}, delimiter {self._literal(self._table.delimiter)}"
        return self._copy(columns, f"{options}, force_null ({_listed(columns)})", pieces)

    def copy_pieces(self, pieces: Iterable[bytes]) -> int:
        """COPY rows with their lineage, NULL being a bare null; returns the number of rows."""
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
        """Compare the new rows with those of an earlier landed day."""
        return self._compared(self._table.name, before, str(before), self._switches())

    def compared_with_list(self) -> Compared:
        """Compare the new rows with the entity's list, as landed before this run: what is on there,
        and they don't name, stays on."""
        table = f"stg_{self._table.entity}"
        own, earlier = landed_days(self._conn, table, self._day)
        # this run lands the day's own list at the same time, or has yet to
        is_there = own and self.batch.flow_run_id != own.flow_run_id and table != self._table.name
        listed = earlier or (own if is_there else None)
        day = listed and listed.day
        names, is_on, was_on, _ = self._switches()[0]
        switches = [(names, is_on, was_on, "fresh.state_0 is not false")]
        return self._compared(table, day, f"{table} of {day}", switches)

    def _compared(
        self, table: str, day: Day | None, against: str, switches: list[tuple[str, str, str, str]]
    ) -> Compared:
        dated = {column.name for column in self._table.columns if column.data_type == "date"}
        # The dates of a list of days change each day, so it is compared by the rest of its key.
        key = [name for name in self._table.key if name not in dated] or self._table.key
        keys = "select array[{key}] as key{states} from {%s} where row({key}) is not null"
        counts = [
            f"count(*) filter (where {was_on}), count(*) filter (where {was_on} and {still_on})"
            for _, _, was_on, still_on in switches
        ]
        [(rows, readable, known, shared, on)] = self._run(
            f"with fresh as materialized ({keys % 'new'} group by 1),"
            f" earlier as materialized ({keys % 'other'} and _day = {{before}} group by 1)"
            " select (select count(*) from {new}), count(fresh), count(earlier),"
            " count(*) filter (where fresh.state_0 is not null and earlier.state_0 is not null)"
            ", array[{counts}] from fresh full join earlier using (key)",
            other=f"bronze.{table}",
            before=self._literal(day and day.date),
            key=", ".join(_READABLE.format(f'"{name}"') for name in key),
            states="".join(f", {state} as state_{n}" for n, (_, state, *_) in enumerate(switches)),
            counts=", ".join(counts),
        )
        counted = zip([names for names, *_ in switches], on[::2], on[1::2], strict=True)
        return Compared(against, rows, readable, known, shared, list(counted))

    def _switches(self) -> list[tuple[str, str, str, str]]:
        """The ways to switch a record off: one for all plain columns together, one for each list.
        Of each: the columns; as SQL, a key's state, whether it was on, and whether it still is."""
        columns = [column for column in self._table.columns if column.switches_off]
        lists = [column.name for column in columns if column.data_type == "jsonb"]
        plain = [column for column in columns if column.data_type != "jsonb"]
        values = [(f'"{column.name}"', self._literal(column.switches_off)) for column in plain]
        off = " or ".join(SWITCHES_OFF.format(*value) for value in values) or "false"
        names, is_on = ", ".join(column.name for column in plain), f"bool_and(({off}) is not true)"
        switches = [(names, is_on, "earlier.state_0", "fresh.state_0")]
        for n, name in enumerate(lists, start=1):
            # One element of the earlier list is enough; without a list the new record says nothing.
            overlap = f"fresh.state_{n} && earlier.state_{n}[1:{ELEMENTS_COMPARED}]"
            still_on = f"fresh.state_0 is not null and (fresh.state_{n} is null or {overlap})"
            elements = _ELEMENTS.format(f'"{name}"')
            switches.append((name, elements, f"cardinality(earlier.state_{n}) > 0", still_on))
        return switches

    def swap_in(self) -> None:
        """Erase the forgotten, then take the day's place: the parent is locked until the commit.
        DaybookError when readers hold the old partition through all turns."""
        import psycopg

        if eraser := eraser_of_landing(self._conn):
            eraser.landed(self._table, self._names["new"])
        self._give_to_owner()
        self._run(f"set local lock_timeout = '{SWAP_WAIT}'")
        for turn in range(SWAP_TURNS):
            # A reader that has the old partition and waits for the parent makes a deadlock.
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
        held = [self._names["parent"], f"bronze.{self._names['name']}"]
        [(readers,)] = self._conn.execute(statement("readers").encode(), [held])
        raise DaybookError(
            f"{self._table.name}: {readers or 'a reader'} held it for more than half a minute, so "
            "the new rows could not take their place. Land the day again."
        )

    def _give_to_owner(self) -> None:
        """Give it to the parent's owner: the next login that lands must be able to drop it."""
        owners = self._run(
            "select quote_ident(pg_get_userbyid(relowner)) from pg_class where"
            " oid = '{parent}'::regclass and relowner <> current_user::regrole"
            " and pg_has_role(relowner, 'SET')"
        )
        for (owner,) in owners:
            self._run("alter table {new} owner to {owner}", owner=owner)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _new_name(batch: Batch, leaf: int | None = None) -> str:
    name = f"{partition_name(batch.table.name, batch.day)}_{batch.id}"
    return name if leaf is None else f"{name}_{leaf}"


def has_partition(conn: Connection, table: str, day: Day) -> bool:
    """Whether the table has a partition of the day."""
    name = f"bronze.{partition_name(table, day)}"
    return conn.execute("select to_regclass(%s) is not null", [name]).fetchone() == (True,)


def drop_partition(conn: Connection, table: str, day: Day) -> None:
    """Drop the day's partition, if there is one, in the caller's transaction."""
    conn.execute(f"drop table if exists bronze.{partition_name(table, day)}".encode())


def drop_leaves(conn: Connection, batch: Batch) -> None:
    """Drop the leaves that workers committed for a failed batch, but for attached ones."""
    leaves = "select relname from pg_class where relnamespace = 'bronze'::regnamespace"
    leaves += " and not relispartition and relname ~ %s"
    for (name,) in conn.execute(leaves, [f"^{_new_name(batch)}_[0-9]+$"]).fetchall():
        conn.execute(f"drop table bronze.{name}".encode())
