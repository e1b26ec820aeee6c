"""A day's partition of a landed table: made beside the old one, filled by COPY, then swapped in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from loaders.days import Day
from loaders.errors import DaybookError
from loaders.forget import eraser_of_landing
from loaders.schema import Table
from loaders.slices import Slice, opened_slice

if TYPE_CHECKING:
    from psycopg import Connection, sql

PIECE = 1 << 16
# Readers of the old partition are waited for in short turns: those that come later queue behind
# the wait, and giving up at once would lose the whole COPY.
SWAP_WAIT = "2s"
SWAP_TURNS = 15
# A key as it is compared; null when it can't be read: no id, or what pandas writes for none.
_READ = "case when lower({0}) <> 'nan' then bronze.id_text({0}) end"
_LINEAGE = ("_day", "_batch_id", "_source_file", "_source_row", "_loaded_at")


class Keys(NamedTuple):
    """Rows, and keys that can be read: of the new rows, of the earlier day, of both."""

    rows: int
    readable: int
    earlier: int
    shared: int


def partition_name(table: str, day: Day) -> str:
    """`stg_agents_p20260105`"""
    return f"{table}_p{day.date:%Y%m%d}"


@dataclass(frozen=True)
class Share:
    """The number of one of several workers, whose rows are a part of the partition, and when the
    batch's rows are said to be loaded."""

    number: int
    loaded_at: datetime


class NewPartition:
    """A table like the parent that nobody else sees; all of it in the caller's transaction.

    A worker fills one of its own and commits it; `assemble` makes the day's of them.

    Lineage comes from column defaults, so a CSV's bytes go to COPY as they are. COPY may freeze,
    since the table is made in the same transaction: a reader with an older snapshot sees the new
    rows rather than none.
    """

    def __init__(
        self, conn: Connection, table: Table, day: Day, batch_id: int, share: Share | None = None
    ) -> None:
        from psycopg import sql

        self._conn = conn
        self._table = table
        self._day = day
        self._batch_id = batch_id
        self._share = share
        self._name = sql.Identifier("bronze", _new_name(table, day, batch_id, share))
        self._parent = sql.Identifier("bronze", table.name)

    def create(self) -> None:
        """Make it, empty, ready for COPY."""
        # cached, a number costs no lock; temporary, it is never logged and ends with the session
        self._run(
            "drop table if exists {new};"
            "create table {new} (like {parent} including defaults,"
            " constraint one_day check (_day = {day}));"
            "create temporary sequence landed_rows cache 10000;"
            "alter table {new} alter _day set default {day}, alter _batch_id set default {batch},"
            " alter _loaded_at set default coalesce({loaded_at}, now()),"
            " alter _source_row set default nextval('pg_temp.landed_rows')",
            batch=self._batch_id,
            loaded_at=self._share and self._share.loaded_at,
        )

    def close(self) -> None:
        """Nothing more comes into it."""
        for column in _LINEAGE:
            self._run("alter table {new} alter " + column + " drop default")
        self._run("drop sequence landed_rows")
        self._give_to_owner()
        self._run("set local default_statistics_target = 20")
        self._run("analyze {new}")

    def assemble(self, shares: Sequence[Share], parts: Sequence[Sequence[Slice]]) -> None:
        """Make it of the tables of the workers, who have read those parts of the files in order."""
        from psycopg import sql

        self._run(
            "create table {new} (like {parent} including defaults, constraint one_day"
            ' check (_day = {day})) partition by range (_source_file collate "C", _source_row)'
        )
        self._give_to_owner()
        bounds = [sql.SQL("minvalue, minvalue"), *map(_begin, (part[0] for part in parts[1:]))]
        for share, (first, last) in zip(
            shares, pairwise([*bounds, sql.SQL("maxvalue, maxvalue")]), strict=True
        ):
            name = _new_name(self._table, self._day, self._batch_id, share)
            attach = sql.SQL("alter table {} attach partition {} for values from ({}) to ({})")
            leaf = sql.Identifier("bronze", name)
            self._conn.execute(attach.format(self._name, leaf, first, last))

    def _run(self, statement: str, **values: Any) -> None:
        from psycopg import sql

        known = {"new": self._name, "parent": self._parent, "day": sql.Literal(self._day.date)}
        literals = {name: sql.Literal(value) for name, value in values.items()}
        self._conn.execute(sql.SQL(statement).format(**known, **literals))

    def copy_bytes(
        self,
        part: Slice,
        columns: Sequence[str],
        delimiter: str,
        look: Callable[[bytes], None],
        on_read: Callable[[int], None],
    ) -> int:
        """COPY a CSV's bytes unparsed, `look` at them while Postgres is at work; rows landed.
        psycopg.DataError when Postgres refuses them."""
        from psycopg import sql

        self._run("alter sequence landed_rows restart with {first}", first=part.first or 1)
        path = part.scanned.file.path
        self._run("alter table {new} alter _source_file set default {path}", path=path)
        options = sql.SQL("format csv, header {}, delimiter {}, freeze true, force_null ({})")
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        header = sql.SQL("false" if part.start else "true")

        def chunks() -> Iterator[bytes]:
            with opened_slice(part, on_read=on_read) as stream:
                while piece := stream.read(PIECE):
                    yield piece
                    look(piece)

        filled = options.format(header, sql.Literal(delimiter), names)
        return self._copy(columns, filled, chunks())

    def copy_pieces(self, pieces: Iterable[bytes]) -> int:
        """COPY rows that bring their lineage, NULL being a bare null; rows landed."""
        from psycopg import sql

        columns = [*self._table.column_names, "_extra", "_source_file", "_source_row"]
        return self._copy(columns, sql.SQL("format csv, null 'null', freeze true"), pieces)

    def _copy(self, columns: Sequence[str], options: Any, pieces: Iterable[bytes]) -> int:
        from psycopg import sql

        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("copy {} ({}) from stdin ({})").format(self._name, names, options)
        cursor = self._conn.cursor()
        with cursor.copy(statement) as copy:
            for piece in pieces:
                copy.write(piece)
        return cursor.rowcount

    def keys(self, before: Day | None) -> Keys:
        """What can be said of the new rows' keys, beside those of an earlier landed day."""
        from psycopg import sql

        dated = {column.name for column in self._table.columns if column.data_type == "date"}
        # a list of days has other dates each day: what it is about is in the rest of its key
        key = [name for name in self._table.key if name not in dated] or self._table.key
        values = sql.SQL(", ").join(sql.SQL(_READ).format(sql.Identifier(name)) for name in key)
        old = self._name
        if before and has_partition(self._conn, self._table.name, before):
            old = sql.Identifier("bronze", partition_name(self._table.name, before))
        readable = "select distinct {values} from {%s} where row({values}) is not null"
        counts = sql.SQL(
            f"with fresh as materialized ({readable % 'new'}),"
            f" earlier as materialized ({readable % 'old'})"
            " select (select count(*) from {new}), (select count(*) from fresh),"
            " (select count(*) from earlier), (select count(*) from"
            " (select * from fresh intersect select * from earlier) as shared)"
        )
        [counted] = self._conn.execute(
            counts.format(new=self._name, old=old, values=values)
        ).fetchall()
        return Keys(*counted)

    def swap_in(self) -> None:
        """Takes the day's place, without who is forgotten; the parent is locked to the commit."""
        import psycopg

        if eraser := eraser_of_landing(self._conn):
            eraser.landed(self._table, self._name.as_string(self._conn))
        self._run("set local lock_timeout = {limit}", limit=SWAP_WAIT)
        for turn in range(SWAP_TURNS):
            try:
                with self._conn.transaction():
                    self._swap()
                return
            except psycopg.errors.LockNotAvailable:
                time.sleep(0.02 * turn)
        raise DaybookError(
            f"{self._table.name}: a reader held it for more than half a minute, so the new rows "
            "could not take their place. Land the day again."
        )

    def _swap(self) -> None:
        from psycopg import sql

        drop_partition(self._conn, self._table.name, self._day)
        name = partition_name(self._table.name, self._day)
        rename = sql.SQL("alter table {} rename to {}")
        self._conn.execute(rename.format(self._name, sql.Identifier(name)))
        self._conn.execute(
            sql.SQL(
                "alter table {parent} attach partition {new} for values in ({day});"
                "alter table {new} drop constraint one_day"
            ).format(
                parent=self._parent,
                new=sql.Identifier("bronze", name),
                day=sql.Literal(self._day.date),
            )
        )

    def _give_to_owner(self) -> None:
        """The next login that lands must be able to drop it: it belongs to the parent's owner."""
        from psycopg import sql

        owner = self._conn.execute(
            "select pg_get_userbyid(relowner) from pg_class where oid = to_regclass(%s)"
            " and relowner <> current_user::regrole and pg_has_role(relowner, 'SET')",
            [f"bronze.{self._table.name}"],
        ).fetchone()
        if owner:
            change = sql.SQL("alter table {} owner to {}")
            self._conn.execute(change.format(self._name, sql.Identifier(owner[0])))


def _new_name(table: Table, day: Day, batch_id: int, share: Share | None) -> str:
    name = f"{partition_name(table.name, day)}_{batch_id}"
    return f"{name}_{share.number}" if share else name


def _begin(part: Slice) -> sql.Composable:
    from psycopg import sql

    path = sql.Literal(part.scanned.file.path)
    row = sql.Literal(part.first) if part.start else sql.SQL("minvalue")
    return sql.SQL("{}, {}").format(path, row)


def has_partition(conn: Connection, table: str, day: Day) -> bool:
    """Whether the day's partition is there."""
    name = f"bronze.{partition_name(table, day)}"
    return conn.execute("select to_regclass(%s) is not null", [name]).fetchone() == (True,)


def drop_shares(conn: Connection, table: Table, day: Day, batch_id: int) -> None:
    """Drops what workers have committed of a batch that fails."""
    from psycopg import sql

    found = conn.execute(
        "select relname from pg_class where relnamespace = 'bronze'::regnamespace"
        " and not relispartition and relname ~ %s",
        [f"^{_new_name(table, day, batch_id, None)}_[0-9]+$"],
    ).fetchall()
    for (name,) in found:
        conn.execute(sql.SQL("drop table {}").format(sql.Identifier("bronze", name)))


def drop_partition(conn: Connection, table: str, day: Day) -> bool:
    """Drops the day's partition, in the caller's transaction; False when there is none."""
    from psycopg import sql

    if not has_partition(conn, table, day):
        return False
    name = sql.Identifier("bronze", partition_name(table, day))
    conn.execute(sql.SQL("drop table {}").format(name))
    return True
