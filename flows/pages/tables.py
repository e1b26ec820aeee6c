"""A page for each table that is no step between two others: its days, checks, columns, lineage.

What a table is comes from dbt's manifest, as the last build wrote it: before the first there are
no such pages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from flows.pages.read import Row, ask
from loaders.personal import personal

if TYPE_CHECKING:
    from psycopg import Connection

LAYERS = ("bronze", "silver", "metrics", "marts")  # those whose tables have a page
ORDER = ("seed", "bronze", "intermediate", "quarantine", "silver", "metrics", "marts", "exposure")
DAYS = 60  # in a trend


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
    found = {}
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
            found[node["name"]] = {**node, **beside, **reached}
    in_order = sorted(found.values(), key=lambda table: LAYERS.index(table["layer"]))
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


def trends(connection: Connection) -> dict[str, list[Row]]:
    """What the last days brought, by landed table and by what is built of them: as it was when each
    day was last applied, from what runs noted, so that no record is read."""
    rows = ask(
        connection,
        """
        with landed as (
            select distinct on (table_name, day)
                table_name, day, rows_landed, coalesce(rows_rejected, 0) as rows_rejected,
                finished_at, day > max(day) over () - %s as is_recent
            from bronze.load_batches
            where status = 'succeeded'
            order by table_name, day, batch_id desc
        ),

        came_to as (
            select distinct on (task_name, table_name, day) *
            from metrics.pipeline_metrics
            where status = 'success' and rows_landed > 0 and task_name <> 'land-table'
            order by task_name, table_name, day, id desc
        )

        select
            page.name, landed.day, max(landed.finished_at) as finished_at,
            sum(landed.rows_landed) as landed, sum(landed.rows_rejected) as rejected,
            coalesce(sum(rows_inserted), 0) as inserted, coalesce(sum(rows_updated), 0) as updated,
            coalesce(sum(rows_unchanged), 0) as unchanged, coalesce(sum(rows_stale), 0) as stale,
            coalesce(sum(rows_duplicate), 0) as duplicate,
            coalesce(sum(rows_quarantined), 0) as quarantined
        from landed
        left join came_to using (table_name, day)
        cross join lateral (values (table_name), (task_name)) as page (name)
        -- what a list of members names is counted in members, not in rows of its table
        where landed.is_recent
            and (page.name, task_name) is distinct from ('stg_groups', 'group_memberships')
        group by page.name, landed.day
        order by landed.day
        """,
        [DAYS],
    )
    found = defaultdict(list)
    for row in rows:
        found[row["name"]].append(row)
    return dict(found)
