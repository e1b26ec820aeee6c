"""Which columns of any relation hold personal data, by the `pii` in the declaration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from loaders.schema import Table
from loaders.sources import declared_tables

# A value that can't be read may be in the wrong column, so it is shown only if it is a word: no
# sentence, no address, no number as long as a phone's. Postgres and Python both read this pattern.
A_WORD = r"^(?![+]|.*[0-9]{7})[^@\s\x01-\x1f\x7f]{1,40}$"


def usual_pii(tables: Iterable[Table]) -> dict[str, str]:
    """The `pii` ('' for none) by name of column, for names that have the same one in all tables: as
    email has, but not name, which is no person's in groups."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        for column in table.columns:
            kinds[column.name].add(column.pii)
    return {name: pii.pop() for name, pii in kinds.items() if len(pii) == 1}


def personal(relation: str, columns: Iterable[str]) -> list[str]:
    """Those of a relation's `columns` that are a card user's or personal. The declaration of the
    table or entity that its name begins with (agents_history) decides, else that of all tables. If
    an entity has such columns, its undeclared fields in `_extra` count as personal too."""
    tables = declared_tables().values()
    own = [
        table
        for table in tables
        if relation == table.name or f"{relation}_".startswith(f"{table.entity}_")
    ]
    hidden = {name for name, pii in usual_pii(own or tables).items() if pii in ("user", "personal")}
    return [name for name in columns if name in hidden or (own and hidden and name == "_extra")]
