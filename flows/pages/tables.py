"""The tables that have a page, with their columns, tests, owners and lineage.

All this comes from dbt's manifest, which each build writes: before the first build there are no
such pages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from flows.pages.read import Row
from loaders.personal import personal

LAYERS = ("bronze", "silver", "metrics", "marts")  # of the tables that have a page
ORDER = ("seed", "bronze", "intermediate", "quarantine", "silver", "metrics", "marts", "exposure")


def declared(manifest: Path) -> dict[str, Row]:
    """Name → table, in the order of layers. A table is its node in dbt's manifest with `id`,
    `layer`, `owner` and `tests`; `personal`: its personal columns; `up` and `down`: layer → names
    of what it is made from and of what reads it."""
    try:
        project = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    nodes = {**project["sources"], **project["nodes"], **project["exposures"]}
    owners = {group["name"]: group["owner"] for group in project["groups"].values()}
    tables = {}
    for key, node in sorted(nodes.items()):
        if node["resource_type"] in ("source", "model") and _layer(node) in LAYERS:
            lineage = {
                "up": _lineage(key, project["parent_map"], nodes),
                "down": _lineage(key, project["child_map"], nodes),
            }
            tests = [nodes[each] for each in project["child_map"][key] if each.startswith("test.")]
            owner = owners.get(node.get("group"), next(iter(owners.values()), None))
            ours = {"layer": _layer(node), "tests": tests, "owner": owner, "id": key}
            ours["personal"] = personal(node["name"], node["columns"])
            tables[node["name"]] = {**node, **ours, **lineage}
    in_order = sorted(tables.values(), key=lambda table: LAYERS.index(table["layer"]))
    return {table["name"]: table for table in in_order}


def _layer(node: Row) -> str:
    """A model's first folder, a source's name, and of any other node its resource type."""
    if node["resource_type"] == "source":
        return str(node["source_name"])
    is_model = node["resource_type"] == "model"
    return str(Path(node["path"]).parts[0] if is_model else node["resource_type"])


def _lineage(key: str, edges: dict[str, list[str]], nodes: dict[str, Row]) -> dict[str, list[str]]:
    """Layer → names of all nodes that edges lead to from `key`; only layers in ORDER."""
    reached, ahead = {key}, [key]
    while ahead:
        near = [each for each in edges.get(ahead.pop(), []) if each in nodes]
        new = {each for each in near if _layer(nodes[each]) in ORDER} - reached
        reached |= new
        ahead += new
    layers = defaultdict(list)
    for each in sorted(reached - {key}, key=lambda each: (ORDER.index(_layer(nodes[each])), each)):
        layers[_layer(nodes[each])].append(nodes[each]["name"])
    return dict(layers)
