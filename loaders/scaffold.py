"""`daybook new`: what an entity needs, written from a sample of its files."""

from __future__ import annotations

import argparse
import codecs
import os
import re
import shutil
import sys
import tempfile
import unicodedata
from difflib import get_close_matches
from pathlib import Path

from loaders.declaration import build
from loaders.errors import UsageError, ended_with
from loaders.personal import usual_pii
from loaders.rendering import Column, Entity, files_of, words
from loaders.sample import Field, has_value, read_sample
from loaders.sources import PROJECT, SOURCES_FILE, declared_tables

# PostgreSQL's reserved words, what sqlfluff takes for such, and `landed`, which the macro
# typed_records calls a landed row.
RESERVED = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast
    check collate collation column commutator concurrently connect constraint create cross
    current_catalog current_date current_role current_schema current_time current_timestamp
    current_user default deferrable desc distinct do else end except false fetch for foreign
    freeze from full grant group hashes having ilike in initially inner intersect into is isnull
    join landed lateral leading left like limit localtime localtimestamp merges minus natural
    negator not notnull null offset on only or order outer overlaps placing primary prior
    references returning right rightarg select session_user similar some symmetric system_user
    table tablesample then to trailing true union unique user using variadic verbose when where
    window with
"""


def look(
    name: str, sample: Path, key: str | None = None, *, delta: bool = False, encoding: str = "utf-8"
) -> Entity:
    """What a sample says of an entity; writes nothing.

    UsageError, saying what was found and what to do, for a name that is taken or can't be one, a
    sample without records, and a key that is missing or not unique.
    """
    _check_name(name)
    try:
        encoding = codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(f"{encoding}: no such encoding; cp1252 and utf-16 are some.") from None
    singular = re.sub(r"(?<=ss|sh|ch)es$|(?<=x)es$|s$", "", re.sub("ies$", "y", name)) or name
    said = [part.strip() for part in key.split(",")] if key else []
    wanted = said or ["id", f"{singular}_id", f"{name}_id"]
    tops = {part.split(".")[0] for part in wanted}
    read, fields = read_sample(sample, encoding, lambda top: top in tops or _snake(top) in tops)
    landed = dict(zip(_names(fields, singular), fields, strict=True))
    keys = _key(sample, landed, wanted, said=bool(said), may_repeat=delta and bool(said))
    columns = [
        Column(column, _type(column, field.data_type, keys), field.said, _pii(column))
        for column, field in landed.items()
    ]
    return Entity(name, singular, "delta" if delta else "snapshot", keys, columns, read)


def write(entity: Entity) -> list[Path]:
    """Write the declaration, the models and whatever lists entities; where."""
    import yaml

    files = files_of(entity)
    build([(SOURCES_FILE, yaml.load(files[SOURCES_FILE], yaml.BaseLoader))])
    write_all(files)
    return list(files)


def write_all(files: dict[Path, str]) -> None:
    """Write all of the files or none. OSError when one can't be written: all is as it was then."""
    with tempfile.TemporaryDirectory(dir=os.path.commonpath(files), prefix=".new-") as folder:
        drafts = {path: Path(folder, f"{number}") for number, path in enumerate(files)}
        former = {path: Path(folder, f"{number}-old") for number, path in enumerate(files)}
        for path, draft in drafts.items():
            draft.write_text(files[path], encoding="utf-8")
            if path.is_file():
                shutil.copy2(path, former[path])
        replaced = []
        try:
            for path, draft in drafts.items():
                draft.replace(path)
                replaced.append(path)
        except OSError:
            for path in replaced:
                if former[path].exists():
                    former[path].replace(path)
                else:
                    path.unlink()
            raise


def _check_name(name: str) -> None:
    is_name = re.fullmatch("(?!stg_)[a-z][a-z0-9_]{0,30}", name)
    if not is_name or name in RESERVED.split():
        raise UsageError(
            f"{name}: an entity's name is what its files are called, such as invoices: small "
            "letters, digits and _, at most 31, and no word of SQL."
        )
    models = [f"int_{name}_typed", f"int_{name}_records", name, f"quarantine_{name}"]
    there = [path for stem in models for path in (PROJECT / "models").rglob(f"{stem}.*")]
    there += (PROJECT / "seeds").glob(f"{name}.*")
    for table in declared_tables().values():
        if name in (table.name.removeprefix("stg_"), *table.found_under):
            there.append(SOURCES_FILE)
    if there or name in ("daily", "metrics", "marts"):
        where = there[0].relative_to(PROJECT) if there else "the project"
        raise UsageError(f"{name}: it is there already, in {where}. Take another name.")


def _snake(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = folded.encode("ascii", "ignore").decode()
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub("[^a-z0-9]+", "_", apart.lower()).strip("_")


def _names(fields: list[Field], singular: str) -> list[str]:
    """What each field lands as."""
    names: list[str] = []
    for field in fields:
        name = _snake("_".join(field.path))
        if name in RESERVED.split() or name == "id" or not name[:1].isalpha():
            name = f"{singular}_{name}".rstrip("_")
        tries = [name[:60], *(f"{name[:57]}_{n}" for n in range(2, len(fields) + 2))]
        names.append(next(one for one in tries if one not in names))
    return names


def _type(name: str, data_type: str, key: list[str]) -> str:
    """An id is text, whatever it looks like."""
    is_id = name.endswith("_id") or name in key
    return "text" if is_id and data_type not in ("date", "jsonb") else data_type


def _pii(name: str) -> str:
    """What is declared of columns that are called so, or whose name it ends in: owner_email."""
    known = usual_pii(declared_tables().values())
    return next((pii for said, pii in known.items() if pii and f"_{name}".endswith(f"_{said}")), "")


def _key(
    sample: Path, landed: dict[str, Field], wanted: list[str], *, said: bool, may_repeat: bool
) -> list[str]:
    """The columns of the key: those that were said, or the first that may be one."""
    by_said = {field.said: name for name, field in landed.items()}
    known = [by_said.get(word, word if word in landed else "") for word in wanted]
    keys = known if said else [name for name in known if name][:1]
    if not keys or "" in keys:
        missing = [word for word, name in zip(wanted, known, strict=True) if not name]
        words = " or ".join(dict.fromkeys(missing))
        near = get_close_matches(missing[0], [*by_said, *landed], 1) if said else []
        guess = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"{sample}: the key can't be told: no field is called {words}. Say it with --key "
            f"(--key a,b for several).{guess} Its fields: {', '.join(by_said)}."
        )
    shown = ", ".join(landed[name].said for name in keys)
    values = list(zip(*(landed[name].values for name in keys), strict=True))
    blank = sum(not all(map(has_value, value)) for value in values)
    alike = len(values) - len({str(value) for value in values})
    what = "holds lists or objects" if any(landed[n].data_type == "jsonb" for n in keys) else ""
    what = what or (f"has no value in {blank} of {len(values)} records" if blank else "")
    if alike and not may_repeat:
        what = what or f"is not unique: {alike} of {len(values)} records repeat one"
    if what:
        raise UsageError(
            f"{sample}: the key {shown} {what}. Say another with --key (--key a,b for several)."
        )
    return keys


def main(arguments: list[str] | None = None, prog: str = "daybook new") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write what a new entity needs, from a sample; nothing is overwritten.",
        epilog="Example: %(prog)s invoices --from invoices.json",
    )
    parser.add_argument("entity", help="what its files are called, such as invoices")
    parser.add_argument(
        "--from",
        dest="sample",
        required=True,
        type=Path,
        metavar="FILE",
        help="a file of it, or a folder of pages: .json, .jsonl, .csv, .parquet or .xlsx",
    )
    parser.add_argument("--key", metavar="FIELD", help="what names a record; a,b for several")
    parser.add_argument(
        "--delta", action="store_true", help="a day's file has only what is new or changed"
    )
    parser.add_argument("--encoding", default="utf-8", help="of a text file, when not UTF-8")
    options = parser.parse_args(arguments)
    try:
        entity = look(
            options.entity,
            options.sample,
            options.key,
            delta=options.delta,
            encoding=options.encoding,
        )
        files = write(entity)
    except (Exception, KeyboardInterrupt) as error:
        return ended_with(error)
    print(_account(entity, files))
    return 0


def _account(entity: Entity, files: list[Path]) -> str:
    wide = max(len(column.name) for column in entity.columns)
    more = f"; the newest by {entity.written_at}" if entity.written_at else ""
    more += "".join(f"; {word}: {said}" for word, said in words(entity.read))
    return "\n".join(
        [
            f"{entity.name}: a {entity.kind} with the key {', '.join(entity.key)}{more}.",
            *(
                f"  {c.name:{wide}}  {c.data_type:11}  from {c.said}"
                + f", pii: {c.pii}" * bool(c.pii)
                for c in entity.columns
            ),
            "Written:",
            *(f"  {path.relative_to(PROJECT)}" for path in files),
            "Look types, key and pii over now: they are easy to change until a day has landed.",
            "Next:",
            "  make lint",
            "  daybook land DAY --data PATH",
            f"  dbt build --select tag:{entity.name}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
