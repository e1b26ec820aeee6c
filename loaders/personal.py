"""Which columns say something of a person: the declaration's `pii`, for whatever is made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from loaders.schema import Table
from loaders.sources import declared_tables

# What could not be read may be in the wrong column. Of it a word is shown: no sentence, no address
# and no number as long as a phone's. As Postgres and Python read it.
A_WORD = r"^(?![+]|.*[0-9]{7})[^@\s\x01-\x1f\x7f]{1,40}$"


def usual_pii(tables: Iterable[Table]) -> dict[str, str]:
    """The `pii` that all of the tables' columns of one name have, '' being none, by name: an email
    is personal in each, a name is not where groups have one, too."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for table in tables:
        for column in table.columns:
            kinds[column.name].add(column.pii)
    return {name: of_name.pop() for name, of_name in kinds.items() if len(of_name) == 1}


def personal(relation: str, columns: Iterable[str]) -> list[str]:
    """Those of a relation's columns that are a card user's or personal, by what is declared of it,
    or of the entity that its name begins with (agents_history), or else by all tables. Beside such
    columns nobody has said what is in an entity's `_extra`: it is taken for personal."""
    tables = declared_tables().values()
    own = [
        table
        for table in tables
        if relation == table.name or f"{relation}_".startswith(f"{table.entity}_")
    ]
    hidden = {name for name, pii in usual_pii(own or tables).items() if pii in ("user", "personal")}
    return [name for name in columns if name in hidden or (own and hidden and name == "_extra")]
