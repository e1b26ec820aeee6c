"""The files of a new entity, from `loaders/templates`, and the lists that name it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loaders.schema import Table
from loaders.sources import PROJECT, SOURCES_FILE

TEMPLATES = Path(__file__).parent / "templates"
DOCS, SETTINGS = PROJECT / "models/_columns.md", PROJECT / "dbt_project.yml"
_WRITTEN_AT = re.compile(r"(last_)?(updated|modified|changed)(_at|_on|_time|_date|_datetime)?")
_LINEAGE = "_day _batch_id _source_file _source_row"
TYPED = f"_errors _landed _extra {_LINEAGE}"
RECORDS = f"_outcome _errors _landed _extra _hash _source_table {_LINEAGE} _updated_at"
QUARANTINE = f"_errors _extra _source_table {_LINEAGE} _updated_at"


class Column(NamedTuple):
    """A field as it lands; `said`: what the sample calls it."""

    name: str
    data_type: str
    said: str
    pii: str = ""

    @property
    def meta(self) -> str:
        """What the declaration's YAML says of it beside name and type."""
        words = {"from": self.said != self.name and _quoted(self.said), "pii": self.pii}
        said = ", ".join(f"{word}: {value}" for word, value in words.items() if value)
        return f"config: {{meta: {{{said}}}}}, " if said else ""


@dataclass(frozen=True)
class Entity:
    """What is written of an entity; `read` says how its files are read."""

    name: str
    singular: str
    kind: str
    key: list[str]
    columns: list[Column]
    read: Table

    @property
    def written_at(self) -> str | None:
        """The column that says when a record was written."""
        moments = [c.name for c in self.columns if c.data_type == "timestamptz"]
        return next(filter(_WRITTEN_AT.fullmatch, moments), None)


def files_of(entity: Entity) -> dict[Path, str]:
    """Each file that is written, and its whole text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # dbt's own Jinja stays as it is
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
    )

    def filled(template: str, **more: str) -> str:
        text = environment.get_template(template)
        return text.render(entity=entity, words=words(entity.read), **more)

    def described(model: str, grain: str, lineage: str) -> str:
        return filled("model.yml", model=model, grain=grain, lineage=lineage)

    models, name = PROJECT / "models", entity.name
    typed, records = f"int_{name}_typed", f"int_{name}_records"
    landed = f"record of stg_{name} that landed"
    docs = DOCS.read_text(encoding="utf-8")
    for column in entity.columns:
        if f"{{% docs {column.name} %}}" not in docs:
            docs += (
                f"\n{{% docs {column.name} %}}\nThe source's `{column.said}`.\n{{% enddocs %}}\n"
            )
    # the list of what the ledger counts is one line
    settings = re.sub(r"(?m)^(  entities: \[.*)\]$", rf"\1, {name}]", SETTINGS.read_text("utf-8"))
    return {
        SOURCES_FILE: SOURCES_FILE.read_text("utf-8") + filled("sources.yml"),
        models / f"intermediate/{typed}.sql": filled("typed.sql"),
        models / f"intermediate/{typed}.yml": described(
            typed, f"landed row of stg_{name}, cast to the declared types", TYPED
        ),
        models / f"intermediate/{records}.sql": filled("records.sql"),
        models / f"intermediate/{records}.yml": described(
            records, f"{landed}, valid or not; a batch takes the place of its day", RECORDS
        ),
        models / f"silver/{name}.sql": filled("silver.sql"),
        models / f"silver/{name}.yml": filled("silver.yml"),
        models / f"quarantine/quarantine_{name}.sql": filled("quarantine.sql"),
        models / f"quarantine/quarantine_{name}.yml": described(
            f"quarantine_{name}", f"{landed} and is not valid", QUARANTINE
        ),
        DOCS: docs,
        SETTINGS: settings,
    }


def words(read: Table) -> list[tuple[str, str]]:
    """What the declaration says of how the files are read, where it is not the usual."""
    said = {
        "delimiter": read.delimiter,
        "encoding": read.encoding,
        "records": ".".join(read.records),
    }
    usual = {"delimiter": ",", "encoding": "utf-8", "records": ""}
    return [(word, _quoted(value)) for word, value in said.items() if value != usual[word]]


def _quoted(text: str) -> str:
    """A YAML scalar that is nothing but text."""
    plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]*", text)
    is_word = text.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    return text if plain and is_word else json.dumps(text, ensure_ascii=False)
