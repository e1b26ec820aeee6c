"""The conventions of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from loaders.sources import PROJECT, SOURCES_FILE, declared_tables
from tests.watching import run_command

STG = (
    "In this project `stg_` means landed. `stg_*` tables are written by `loaders/` and are dbt"
    " sources; dbt builds no `stg_` model. What dbt usually calls staging is"
    " `int_<entity>_typed`."
)
MODELS = sorted((PROJECT / "models").rglob("*.sql"))
BY_NAME = {model.stem: model for model in MODELS}
(BRONZE,) = yaml.safe_load(SOURCES_FILE.read_text())["sources"]
# Landed table → the tag of its pipeline, as the sources file says.
TAGS = {
    table["name"]: next((tag for tag in table["config"]["tags"] if tag != "daily"), "of a pipeline")
    for table in BRONZE["tables"]
}
PIPELINES = tuple(dict.fromkeys(TAGS.values()))
# What of a model is not its own SQL: Jinja, what it asks while it compiles, and comments; and what
# sqlfluff knows of dbt by itself.
ASIDE = re.compile(r"({% set \w+ %}.*?{% endset %}|{[{%#].*?[}%#]}|--[^\n]*)", re.S)
KNOWN = re.compile(r"{{\s*(ref|source|config|this)\b.*?}}", re.S)


def tracked(pattern: str = "*") -> list[Path]:
    words = ("git", "ls-files", "--cached", "--others", "--exclude-standard", pattern)
    listed = run_command(*words, check=True)
    return [PROJECT / name for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]


def described(model: Path) -> dict[str, Any]:
    (entry,) = yaml.safe_load(model.with_suffix(".yml").read_text())["models"]
    return entry


def tags(model: Path) -> set[str]:
    """Those of the model's own config, in its SQL or its YAML."""
    found = {
        tag
        for written in re.findall(r"\btags=(\[[^\]]*\])", model.read_text())
        for tag in ast.literal_eval(written)
    }
    return found | set(described(model).get("config", {}).get("tags", []))


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_a_model_has_its_yaml_beside_it_that_says_what_a_row_is(model):
    entry = described(model)
    assert entry["name"] == model.stem
    assert entry["description"].startswith("One row per ")


def test_every_yaml_of_a_model_has_its_sql():
    for file in (PROJECT / "models").rglob("*.yml"):
        if not file.name.startswith("_"):
            assert file.with_suffix(".sql").exists(), file


@pytest.mark.parametrize("seed", sorted((PROJECT / "seeds").glob("*.yml")), ids=lambda p: p.stem)
def test_a_seed_says_what_a_row_is(seed):
    (entry,) = yaml.safe_load(seed.read_text())["seeds"]
    assert entry["description"].startswith("One row per ")


def test_every_column_says_more_than_its_name():
    """In models and sources; and dbt's pages have a front door."""
    text = "".join(page.read_text() for page in (PROJECT / "models").glob("*.md"))
    blocks = dict(re.findall(r"{% docs (\w+) %}\n(.*?)\n{% enddocs %}", text, re.S))
    tables = [described(model) for model in MODELS] + [
        table
        for file in (PROJECT / "models").rglob("*__sources.yml")
        for source in yaml.safe_load(file.read_text())["sources"]
        for table in source["tables"]
    ]
    little = {"the", "a", "an", "of", "s", "is", "in", "landed", "logical"}
    for table in tables:
        for column in table["columns"]:
            description = column["description"]
            if named := re.fullmatch(r"{{ doc\('(\w+)'\) }}", description):
                description = blocks[named[1]]
            words = set(re.findall(r"\w+", description.lower())) - little
            assert len(words - set(column["name"].split("_"))) > 1, (
                f"{table['name']}: {description}"
            )
    assert set(re.findall(r"`(\w+)`", blocks["__overview__"])) >= {
        model.parent.name for model in MODELS
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_a_row_of_silver_or_quarantine_leads_to_its_record(model):
    several = {"group_memberships_history", "transaction_pipeline_state"}  # records are behind one
    if model.parent.name in ("silver", "quarantine") and model.stem not in several:
        lineage = {"_day", "_batch_id", "_source_file", "_source_row", "_updated_at"}
        assert lineage <= {column["name"] for column in described(model)["columns"]}


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_records_are_described_column_by_column(model):
    """`judge` takes what it asks a table for from there."""
    if model.stem.endswith("_records"):
        (last,) = re.findall(r"\nselect\n((?:    .*\n)+)from judged\n", model.read_text())
        selected = re.findall(r"(\w+),?$", re.sub(r"--.*", "", last), re.MULTILINE)
        assert selected == [column["name"] for column in described(model)["columns"]]


def test_no_model_is_called_stg():
    assert [model.stem for model in MODELS if model.stem.startswith("stg_")] == []


def test_the_folder_is_the_layer():
    prefixes = {"intermediate": "int_", "quarantine": "quarantine_"}
    for model in MODELS:
        layer = model.parent.name
        assert model.stem.startswith(prefixes.get(layer, "")), model
        if layer not in prefixes:
            assert not model.stem.startswith(("int_", "quarantine_")), model


def lacking(table: str, text_of: dict[str, str]) -> list[str]:
    """What a landed table still needs, for `--select tag:<pipeline>` to build it and the ledger to
    count it: models by name → their text."""
    entity = table.removeprefix("stg_")
    silver = "agents" if entity == "agent_details" else entity
    needed = (f"int_{entity}_typed", f"int_{silver}_records", silver, f"quarantine_{silver}")
    tag = re.compile(rf"tags=\[[^\]]*'{TAGS[table]}'")
    problems = [
        f"{name} has no tag {TAGS[table]}" for name in needed if not tag.search(text_of[name])
    ]
    counted = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]["entities"]
    return problems + [f"entities of dbt_project.yml lacks {silver}"] * (silver not in counted)


def test_exposures_read_what_is_public():
    text = (PROJECT / "models" / "_exposures.yml").read_text()
    for name in re.findall(r"ref\('(\w+)'\)", text):
        assert BY_NAME[name].parent.name in ("metrics", "marts"), name


@pytest.mark.parametrize("table", declared_tables())
def test_every_landed_table_is_built_by_its_tag_and_counted(table):
    text_of = {name: model.read_text() for name, model in BY_NAME.items()}
    assert lacking(table, text_of) == []
    own = f"int_{table.removeprefix('stg_')}_typed"
    untagged = text_of | {own: text_of[own].replace(f"'{TAGS[table]}'", "'daily'")}
    assert lacking(table, untagged) == [f"{own} has no tag {TAGS[table]}"]


def test_silver_and_marts_have_enforced_contracts_with_keys():
    for model in MODELS:
        is_view = "materialized='view'" in model.read_text()
        if model.parent.name in ("silver", "marts") and not is_view:
            entry = described(model)
            assert entry["config"]["contract"]["enforced"], model
            kinds = [constraint["type"] for constraint in entry["constraints"]]
            assert "primary_key" in kinds, model


def test_a_model_has_the_tags_of_whatever_reads_it():
    """So that a pipeline's tag builds all it needs, whatever was built before; row_ledger is a view
    of whatever is there."""
    for model in MODELS:
        own = tags(model)
        if model.parent.name not in ("marts", "metrics"):  # the folder's tag is theirs
            assert own & set(PIPELINES), f"{model.stem} belongs to no pipeline"
        for name in re.findall(r"ref\('(\w+)'\)", model.read_text()):
            if name in BY_NAME and model.stem != "row_ledger":  # seeds have no pipeline's tag
                lacking = (own & set(PIPELINES)) - tags(BY_NAME[name])
                assert not lacking, f"{name}, which {model.stem} reads, lacks {lacking}"


def test_lint_reads_every_line_of_every_model():
    """Keywords in capitals are found wherever they stand in models that call macros: what sqlfluff
    can't template or parse it might pass."""
    from sqlfluff.core import FluffConfig, Linter

    config = FluffConfig.from_path(
        str(PROJECT / "models"), overrides={"rules": "capitalisation.keywords"}
    )
    linter = Linter(config=config)
    for model in MODELS:
        if "{" not in KNOWN.sub("", model.read_text()):
            continue
        parts = ASIDE.split(model.read_text())
        for i in range(0, len(parts), 2):
            parts[i] = re.sub(r"\b(select|from)\b", lambda m: m[0].upper(), parts[i])
        places = re.finditer(r"\b(SELECT|FROM)\b", "".join(parts))
        linted = linter.lint_string("".join(parts), fname=str(model), config=config)
        assert {violation.rule_code() for violation in linted.violations} <= {"CP01"}, model
        found = {(violation.line_no, violation.line_pos) for violation in linted.violations}
        assert found == {_place("".join(parts), place.start()) for place in places}, model


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of what begins there."""
    before = text[:offset]
    return before.count("\n") + 1, offset - before.rfind("\n")


def test_lint_ignores_nothing():
    written = configparser.ConfigParser(interpolation=None)
    written.read(PROJECT / ".sqlfluff")
    assert [key for key in written["sqlfluff"] if "ignore" in key or "exclude" in key] == []
    for model in MODELS:
        assert not re.search(r"noqa|--\s*sqlfluff:", model.read_text()), model
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text(), re.M)
    assert lint
    tools = ("ruff check .", "ruff format --check .", "mypy\n", "deptry .", "dbt --quiet parse")
    for tool in tools:
        assert f"$(BIN)/{tool}" in lint[1], tool
    assert re.search(r"sqlfluff lint (?!.*ignore).* models\n", lint[1])


def test_each_pipeline_builds_by_its_tag_on_a_warehouse_that_was_never_built(world):
    world.land("day1")
    for pipeline in PIPELINES:
        for schema in ("intermediate", "silver", "quarantine", "marts"):
            world.db.execute(f"drop schema if exists {schema} cascade")
            world.db.execute(f"create schema {schema}")
        world.db.execute("truncate metrics.applied_batches")
        world.db.execute("drop table if exists metrics.group_activity cascade")
        world.db.execute("drop view if exists metrics.row_ledger cascade")
        world.build("--select", f"tag:{pipeline}")
    others = world.dbt("ls", "--select", "tag:group_memberships", "tag:fx_rates")
    assert others.result == []  # which are in a pipeline, and none


def test_every_macro_is_documented_with_its_arguments():
    documented = {
        entry["name"]: [argument["name"] for argument in entry.get("arguments", [])]
        for entry in yaml.safe_load((PROJECT / "macros/_macros.yml").read_text())["macros"]
    }
    written = {}
    for file in (PROJECT / "macros").glob("*.sql"):
        for name, arguments in re.findall(r"{% macro (\w+)\(([^)]*)\)", file.read_text()):
            parts = [part.split("=")[0].strip() for part in re.split(r",\s*", arguments) if part]
            written[name] = [part for part in parts if part.isidentifier()]
    assert documented == written


def test_the_meaning_of_stg_is_said_in_three_places():
    for name in ("README.md", "CONTRIBUTING.md", "models/bronze/_bronze__sources.yml"):
        text = " ".join((PROJECT / name).read_text().replace("#", " ").split())
        assert STG in text, name


def test_files_stay_small():
    for file in tracked("*.py"):
        place = file.relative_to(PROJECT).as_posix()
        small = place.startswith(("flows/", "loaders/"))
        assert len(file.read_text().splitlines()) <= (300 if small else 400), file
    column = re.compile(r"    (coalesce\(_landed ->> '\w+', \w+::text\) as )?\w+,")
    for file in tracked("*.sql"):
        lines = [line for line in file.read_text().splitlines() if not column.fullmatch(line)]
        assert len(lines) <= 150, file  # as many columns as a source has


def test_no_module_has_a_name_that_says_nothing():
    for file in tracked("*.py"):
        assert file.stem not in ("utils", "util", "common", "helpers", "misc"), file


def _imports(file: Path) -> set[str]:
    """What a file imports, also inside functions: modules, and names that may be modules."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def test_no_module_of_loaders_and_flows_imports_itself_by_way_of_others():
    files = [f for name in ("loaders", "flows") for f in (PROJECT / name).rglob("*.py")]
    modules = {".".join(f.relative_to(PROJECT).with_suffix("").parts): f for f in files}
    imports = {name: _imports(file) & modules.keys() for name, file in modules.items()}
    for name in modules:
        reached, new = set(), imports[name]
        while new:
            reached |= new
            new = set().union(*(imports[each] for each in new)) - reached
        assert name not in reached, f"{name} is in a circle"


def test_each_layer_knows_only_those_below_it():
    """Loaders know no flow; one file knows dbt, the checks know Great Expectations, and Prefect's
    flows and tasks are declared in three."""
    for name, allowed in {
        "flows": ("flows/",),
        "prefect": ("flows/",),
        "prefect.flow": ("flows/pipeline.py", "flows/distributed.py"),
        "prefect.task": ("flows/tasks.py",),
        "dbt": ("flows/transform.py",),
        "great_expectations": ("flows/checks/",),
    }.items():
        for file in [*(PROJECT / "loaders").rglob("*.py"), *(PROJECT / "flows").rglob("*.py")]:
            place = file.relative_to(PROJECT).as_posix()
            known = {n for n in _imports(file) if n == name or n.startswith(f"{name}.")}
            assert not known or place.startswith(allowed), f"{place} imports {known}"


def test_no_error_is_passed_over_whatever_it_is():
    for file in (f for name in ("loaders", "flows") for f in (PROJECT / name).rglob("*.py")):
        assert "suppress(Exception)" not in file.read_text(), file


# Savepoints of a landing, and a leaf that nobody sees before it; what closes a failure or another
# run's rows; transactions that only read.
WITHOUT_THE_LOCK = {
    *("loaders/partition.py", "loaders/workers.py", "loaders/landing.py", "loaders/ledger.py"),
    *("loaders/match.py", "flows/pages/read.py"),
}


def test_a_transaction_commits_under_the_runs_lock():
    opens = {
        str(file.relative_to(PROJECT))
        for file in (*tracked("loaders/*.py"), *tracked("flows/*.py"))
        if ".transaction()" in file.read_text()
    }
    assert opens - {"loaders/lock.py"} == WITHOUT_THE_LOCK
    assert (PROJECT / "loaders" / "landing.py").read_text().count(".transaction()") == 1


def test_nothing_names_a_machine_or_a_registry():
    hosts = re.compile("pypi" + r"\.org|files\.pythonhosted|/ho" + "me/|/ro" + "ot/|/wo" + "rk/")
    for file in tracked():
        if file.suffix in (".png", ".parquet", ".gz"):
            continue
        found = hosts.search(file.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{file}: {found[0]}"
