"""`daybook new`: writes what an entity needs, from a sample of its files."""

from __future__ import annotations

import argparse
import codecs
import json
import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import yaml

from loaders.arguments import command, option
from loaders.declaration import build
from loaders.errors import UsageError, guess, readable
from loaders.personal import usual_pii
from loaders.process import whole
from loaders.readers.mapping import folded
from loaders.readers.rows import has_value
from loaders.sample import Field, read_sample
from loaders.schema import Column, Table
from loaders.sources import PROJECT, SOURCES_FILE, declared_tables

TEMPLATES, MODELS = Path(__file__).parent / "templates", PROJECT / "models"
DOCS, SETTINGS = MODELS / "_columns.md", PROJECT / "dbt_project.yml"
WRITTEN_AT = re.compile(r"(last_)?(updated|modified|changed)(_at|_on|_time|_date|_datetime)?")
# Reserved in sqlfluff alone; and `landed`, the macro typed_records' alias of a landed row.
RESERVED_HERE = """
    collation commutator concurrently connect hashes landed lateral merges minus negator prior
    rightarg system_user tablesample
"""
# What other systems call an e-mail address, a phone number and who logs in.
PERSONAL = """
    mail mail_address email_address phone_number mobile_number telephone login username
    user_principal_name upn
"""
NOT_PERSONAL = ("boolean", "date", "timestamptz")  # has_email, last_login
TAGS = ("daily", "metrics", "marts")
AFTERWARDS = """Look types, key and pii over now: they are easy to change until a day has landed.
Next:
  make lint
  daybook land DAY --data PATH
  dbt build --select tag:{}"""


def draft(
    name: str, sample: Path, key: str | None = None, *, delta: bool = False, encoding: str = "utf-8"
) -> Table:
    """The table that a sample's records would land in; writes nothing.

    UsageError, which says what to do, for a name that is taken or not allowed, an unknown encoding,
    a sample without records, and a key that is missing or not unique.
    """
    _check_name(name)
    try:
        encoding = codecs.lookup(encoding).name
    except LookupError:
        raise UsageError(f"{encoding}: no such encoding; cp1252 and utf-16 are some.") from None
    chosen = [part.strip() for part in key.split(",")] if key else []
    wanted = chosen or ["id", f"{_singular(name)}_id", f"{name}_id"]
    tops = {part.split(".")[0] for part in wanted}  # names of outermost fields
    read, fields = read_sample(sample, encoding, lambda top: top in tops or _snake(top) in tops)
    landed = dict(zip(_names(fields, _singular(name)), fields, strict=True))
    keys = _key(sample, landed, wanted, is_chosen=bool(chosen), may_repeat=delta and bool(chosen))
    known = usual_pii(declared_tables().values()) | dict.fromkeys(PERSONAL.split(), "personal")
    columns = []
    for column, field in landed.items():
        stem = re.sub("_[0-9]+$", "", column)  # phone_2 is what phone is
        is_id = stem.endswith("_id") or column in keys
        is_text = is_id and field.data_type not in ("date", "jsonb")  # even if all are numbers
        data_type = "text" if is_text else field.data_type
        # owner_email, and a list of emails, has the pii of the declared columns called email
        pii = [
            pii
            for name, pii in known.items()
            if pii and data_type not in NOT_PERSONAL
            if f"_{stem}".endswith((f"_{name}", f"_{name}s", f"_{name}es"))
        ]
        columns.append(Column(column, data_type, (field.path,), pii="".join(pii[:1])))
    return replace(
        read,
        name=f"stg_{name}",
        found_under=(name,),
        kind="delta" if delta else "snapshot",
        key=tuple(keys),
        columns=tuple(columns),
    )


def files_of(table: Table) -> dict[Path, str]:
    """Each file that is written for an entity, with its whole text: the models, from
    `loaders/templates`, and the files that list entities or columns, with the entity added."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # other brackets than dbt's, whose Jinja stays as it is
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
    )
    environment.globals |= {
        "table": table,
        "name": table.entity,
        "key": table.key,
        "row": _singular(table.entity).replace("_", " "),
        "written_at": _written_at(table),
        "reading": _reading(table),
    }
    environment.filters["quoted"] = _quoted
    places = [str(path.relative_to(TEMPLATES)) for path in sorted(TEMPLATES.glob("*/*"))]
    texts = {place: environment.get_template(place).render() for place in places}
    files = {MODELS / place.replace("ENTITY", table.entity): text for place, text in texts.items()}
    declared = environment.get_template("sources.yml").render()
    docs = DOCS.read_text("utf-8")
    for column in table.columns:
        if f"{{% docs {column.name} %}}" not in docs:
            text = f"The source's `{'.'.join(column.places[0])}`."
            docs += f"\n{{% docs {column.name} %}}\n{text}\n{{% enddocs %}}\n"
    files[DOCS] = docs
    files[SOURCES_FILE] = SOURCES_FILE.read_text("utf-8") + declared
    # the list of what the ledger counts is one line
    counted = re.compile(r"(?m)^(  entities: \[.*)\]$")
    files[SETTINGS] = counted.sub(rf"\1, {table.entity}]", SETTINGS.read_text("utf-8"))
    return files


def _written_at(table: Table) -> str | None:
    """The column with the time of a record's last change, None when no name says it."""
    moments = [column.name for column in table.columns if column.data_type == "timestamptz"]
    return next(filter(WRITTEN_AT.fullmatch, moments), None)


def _reading(table: Table) -> dict[str, str]:
    """The words of the declaration about reading its files that differ from the defaults."""
    words = {"delimiter": table.delimiter, "encoding": table.encoding}
    words["records"] = ".".join(table.records)
    usual = {"delimiter": ",", "encoding": "utf-8", "records": ""}
    return {word: _quoted(value) for word, value in words.items() if value != usual[word]}


def _reserved() -> set[str]:
    """SQL's reserved words, which can't name a column without quotes."""
    from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

    return {*RESERVED_WORDS, *RESERVED_HERE.split()}


def _check_name(name: str) -> None:
    if not re.fullmatch("(?!stg_)[a-z][a-z0-9_]{0,30}", name) or name in {*_reserved(), *TAGS}:
        raise UsageError(
            f"{name}: an entity's name is what its files are called, such as invoices: small "
            "letters, digits and _, at most 31, and no word of SQL."
        )
    stems = {f"int_{name}_typed", f"int_{name}_records", name, f"quarantine_{name}"}
    folders = (MODELS, PROJECT / "seeds")
    taken = [path for folder in folders for path in folder.rglob("*.*") if path.stem in stems]
    for table in declared_tables().values():
        if name in (table.name.removeprefix("stg_"), *table.found_under):
            taken.append(SOURCES_FILE)
    if taken:
        where = taken[0].relative_to(PROJECT)
        raise UsageError(f"{name}: it is there already, in {where}. Take another name.")


def _singular(name: str) -> str:
    return re.sub(r"(?<=ss|sh|ch)es$|(?<=x)es$|s$", "", re.sub("ies$", "y", name)) or name


def _snake(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = folded.encode("ascii", "ignore").decode()
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    return re.sub("[^a-z0-9]+", "_", apart.lower()).strip("_")


def _names(fields: list[Field], singular: str) -> list[str]:
    """The column's name for each field, in order; all differ. A field that is called as a column
    is that column, since a column's own name is one of its places, in a header in any case."""
    wanted = []
    reserved = _reserved()
    for field in fields:
        name = _snake("_".join(field.path))
        if name in reserved or name == "id" or not name[:1].isalpha():
            name = f"{singular}_{name}".rstrip("_")
        wanted.append(name[:60])
    names: dict[int, str] = {}
    called = [
        (field.source != name, folded(field.source) != name)
        for field, name in zip(fields, wanted, strict=True)
    ]
    for at in sorted(range(len(fields)), key=called.__getitem__):
        tries = [wanted[at], *(f"{wanted[at][:57]}_{n}" for n in range(2, len(fields) + 2))]
        names[at] = next(one for one in tries if one not in names.values())
    return [names[at] for at in range(len(fields))]


def _key(
    sample: Path, landed: dict[str, Field], wanted: list[str], *, is_chosen: bool, may_repeat: bool
) -> list[str]:
    """The key's columns: all `wanted` if the user chose them, else the first one that is there."""
    by_source = {field.source: name for name, field in landed.items()}
    names = [by_source.get(word, word if word in landed else "") for word in wanted]
    keys = names if is_chosen else [name for name in names if name][:1]
    if not keys or "" in keys:
        missing = [word for word, name in zip(wanted, names, strict=True) if not name]
        near = guess(missing[0], [*by_source, *landed]) if is_chosen else ""
        raise UsageError(
            f"{sample}: the key can't be told: no field is called "
            f"{' or '.join(dict.fromkeys(missing))}. Say it with --key (--key a,b for several)."
            f"{near} Its fields: {', '.join(by_source)}."
        )
    values = list(zip(*(landed[name].values for name in keys), strict=True))
    blank = sum(not all(map(has_value, value)) for value in values)
    alike = 0 if may_repeat else len(values) - len({str(value) for value in values})
    if any(landed[name].data_type == "jsonb" for name in keys):
        what = "holds lists or objects"
    elif blank:
        what = f"has no value in {blank} of {len(values)} records"
    elif alike:
        what = f"is not unique: {alike} of {len(values)} records repeat one"
    else:
        return keys
    shown = ", ".join(landed[name].source for name in keys)
    raise UsageError(
        f"{sample}: the key {shown} {what}. Say another with --key (--key a,b for several)."
    )


def _quoted(text: str) -> str:
    """The text as a quoted YAML scalar."""
    return json.dumps(text, ensure_ascii=False)


@command(
    "loaders.scaffold",
    "Write what a new entity needs, from a sample; nothing is overwritten.",
    "example: %(prog)s invoices --from invoices.json",
    option("entity", help="what its files are called, such as invoices"),
    option(
        "--from",
        dest="sample",
        required=True,
        type=Path,
        metavar="FILE",
        help="a file of it, or a folder of pages: .json, .jsonl, .csv, .parquet or .xlsx",
    ),
    option("--key", metavar="FIELD", help="its key (default: id or invoice_id); a,b for several"),
    option("--delta", action="store_true", help="a day's file has only what is new or changed"),
    option("--encoding", default="utf-8", metavar="NAME", help="of a text file (default: utf-8)"),
)
def main(args: argparse.Namespace) -> None:
    table = draft(args.entity, args.sample, args.key, delta=args.delta, encoding=args.encoding)
    files = files_of(table)
    build([(SOURCES_FILE, yaml.load(files[SOURCES_FILE], yaml.BaseLoader))])
    for path, text in files.items():
        with whole(path) as new:
            new.write_text(text, encoding="utf-8")
    newest = _written_at(table)
    more = f"; the newest by {newest}" if newest else ""
    more += "".join(f"; {word}: {value}" for word, value in _reading(table).items())
    print(f"{table.entity}: a {table.kind} with the key {', '.join(table.key)}{more}.")
    wide = max(map(len, table.column_names))
    for column in table.columns:
        source = readable(".".join(column.places[0]))
        pii = f", pii: {column.pii}" * bool(column.pii)
        print(f"  {column.name:{wide}}  {column.data_type:11}  from {source}{pii}")
    print("Written:", *(f"  {path.relative_to(PROJECT)}" for path in files), sep="\n")
    print(AFTERWARDS.format(table.entity))


if __name__ == "__main__":
    sys.exit(main())
