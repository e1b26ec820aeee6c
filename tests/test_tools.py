"""Other people's tools on Daybook's output, by the commands of docs/faq.md (`make tools`)."""

from __future__ import annotations

import base64
import json
import os
import re

import pytest
import yaml

from flows.site import write_site
from loaders import server
from loaders.sources import PROJECT
from tests.conftest import dbt_settings
from tests.test_docs import blocks
from tests.watching import run_command

pytestmark = pytest.mark.tools
AS_CONTRACT, AS_EVENTS = blocks("docs/faq.md", "sh")
(PROFILE,) = blocks("docs/faq.md", "yaml")
MODELS = [*PROJECT.glob("models/*/*.sql")]


def typed(commands: str, **environment: str) -> str:
    """What a shell in the project's folder says of them, all of which end well."""
    done = run_command("bash", "-ec", commands, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_columns_are_drawn_offline_and_the_index_leads_to_them(world, dbt_environment):
    index = write_site(everything=True)
    assert 'href="columns.html"' in index.read_text()
    page = index.with_name("columns.html")
    text = page.read_text()
    page.unlink()
    assert "default-src 'none'" in text
    (packed,) = re.findall(r'colibriData = JSON.parse\(atob\("(.*?)"', text)
    drawn = json.loads(base64.b64decode(packed))
    known = {edge["target"].rpartition(".")[2] for edge in drawn["lineage"]["edges"]}
    assert {file.stem for file in MODELS} - known <= {"agent_role_history"}


def test_the_marts_contract_holds(world, dbt_folder, tmp_path):
    assert world.dbt("docs", "generate").success
    commands = AS_CONTRACT.replace(".daybook/dbt/target", str(dbt_folder / "target"))
    typed(commands.replace(" marts.odcs.yaml", f" {tmp_path / 'marts.odcs.yaml'}"))
    contract = yaml.safe_load((tmp_path / "marts.odcs.yaml").read_text())
    assert {table["name"] for table in contract["schema"]} == {
        file.stem for file in MODELS if file.parent.name == "marts"
    }
    columns = [column for table in contract["schema"] for column in table["properties"]]
    types = {column["logicalType"] for column in columns}
    assert types <= {"string", "integer", "number", "boolean", "date"}


def test_openlineage_is_told_what_each_model_read_and_wrote(
    world, shared_home, dbt_folder, tmp_path
):
    at = server.address(shared_home)
    profile = PROFILE.replace("localhost", at["host"]).replace("nightly", at["user"])
    (tmp_path / "profiles.yml").write_text(profile)
    lineage = tmp_path / "lineage"
    commands = AS_EVENTS.replace("PATH=lineage", f"PATH={lineage}")
    commands = commands.replace(" plain", f" {tmp_path}")
    typed(commands, **dbt_settings(dbt_folder))

    events = [json.loads(line) for line in lineage.read_text().splitlines()]
    done = [event for event in events if event["eventType"] == "COMPLETE"]
    written = {output["name"] for event in done for output in event["outputs"]}
    assert written >= {
        f"daybook.{file.parent.name}.{file.stem.removeprefix('quarantine_')}" for file in MODELS
    }
    assert "FAIL" not in {event["eventType"] for event in events}
