"""A page for each table that is no step between two others: its days, checks, columns, lineage.

What a table is comes from dbt's manifest, as the last build wrote it: before the first there are
no such pages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from flows.pages.read import Row
from loaders.personal import personal

LAYERS = ("bronze", "silver", "metrics", "marts")  # those whose tables have a page
ORDER = ("seed", "bronze", "intermediate", "quarantine", "silver", "metrics", "marts", "exposure")


def declared(manifest: Path) -> dict[str, Row]:
    """The tables with a page by name, in the order of layers. Each has dbt's own words and `layer`,
    `owner`, `tests`, `personal`: columns, and `up` and `down`: what it is made from and what reads
    it, by layer."""
    try:
        project = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    nodes = {**project["sources"], **project["nodes"], **project["exposures"]}
    owners = {group["name"]: group["owner"] for group in project["groups"].values()}
    tables = {}
    for key, node in sorted(nodes.items()):
        if node["resource_type"] in ("source", "model") and _layer(node) in LAYERS:
            reached = {
                way: _reached(key, project[f"{step}_map"], nodes)
                for way, step in (("up", "parent"), ("down", "child"))
            }
            tests = [nodes[each] for each in project["child_map"][key] if each.startswith("test.")]
            owner = owners.get(node.get("group"), next(iter(owners.values()), None))
            beside = {"layer": _layer(node), "tests": tests, "owner": owner, "id": key}
            beside["personal"] = personal(node["name"], node["columns"])
            tables[node["name"]] = {**node, **beside, **reached}
    in_order = sorted(tables.values(), key=lambda table: LAYERS.index(table["layer"]))
    return {table["name"]: table for table in in_order}


def _layer(node: Row) -> str:
    """The folder of a model, which is its layer; of a source its name, of all else what it is."""
    if node["resource_type"] == "source":
        return str(node["source_name"])
    is_model = node["resource_type"] == "model"
    return str(Path(node["path"]).parts[0] if is_model else node["resource_type"])


def _reached(key: str, edges: dict[str, list[str]], nodes: dict[str, Row]) -> dict[str, list[str]]:
    """All that edges lead to, by layer, but for ledgers and tests."""
    seen, ahead = {key}, [key]
    while ahead:
        near = [each for each in edges.get(ahead.pop(), []) if each in nodes]
        new = {each for each in near if _layer(nodes[each]) in ORDER} - seen
        seen |= new
        ahead += new
    layers = defaultdict(list)
    for each in sorted(seen - {key}, key=lambda each: (ORDER.index(_layer(nodes[each])), each)):
        layers[_layer(nodes[each])].append(nodes[each]["name"])
    return dict(layers)
