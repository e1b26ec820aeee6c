"""Groups and spend as they are: no ledger keeps what they were."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from flows.pages.read import Row, ask
from flows.pages.shapes import columns

if TYPE_CHECKING:
    from psycopg import Connection

TREE_ROWS = 1000  # groups in the tree: the page stays below 300 kB
TREE_DEPTH = 25
LARGEST = 7  # applications with a colour of their own


def read_now(connection: Connection) -> dict[str, Any]:
    """What now.html.j2 shows."""
    shown = ask(connection, _TREE, [TREE_DEPTH, TREE_ROWS])
    totals = ask(connection, _TOTALS)
    return {
        "totals": totals[0] if totals else {"groups": 0},
        "shown": len(shown),
        "tree": tree(shown),
        "cyclic": ask(connection, _IN_CYCLES),
        **spend(ask(connection, _SPEND)),
    }


# The upper part: groups with the number of their children, roots first.
_TREE = """
select shown.*, coalesce(below.children, 0) as children
from metrics.group_activity as shown
left join (
    select parent_group_id, count(*) as children from metrics.group_activity group by 1
) as below on shown.group_id = below.parent_group_id
where depth <= %s
order by depth, inactive, group_id
limit %s
"""
_TOTALS = """
select
    count(*) as groups,
    count(*) filter (where not inactive) as active,
    count(*) filter (where inactive) as inactive,
    count(*) filter (where in_cycle) as in_cycle,
    count(*) filter (where depth is null and not in_cycle) as below_a_cycle
from metrics.group_activity
"""
_IN_CYCLES = """
select * from metrics.group_activity
where depth is null
order by in_cycle desc, group_id
limit 100
"""
_SPEND = """
select application, month, usd from marts.application_spend_monthly
where month in (
    select distinct month from marts.application_spend_monthly order by month desc limit 12
)
order by month, usd desc
"""


def tree(rows: list[Row]) -> list[Row]:
    """Groups nested below their parents; `hidden` children are those that the page leaves out."""
    nodes = {row["group_id"]: {**row, "below": []} for row in rows}
    roots: list[Row] = []
    for node in nodes.values():
        parent = nodes.get(node["parent_group_id"]) if node["depth"] else None
        (parent["below"] if parent else roots).append(node)
    for node in nodes.values():
        node["hidden"] = node["children"] - len(node["below"])
    return roots


def spend(rows: list[Row]) -> dict[str, Any]:
    """Dollars a month: the largest applications, all others, and what matches none, each with a
    colour that is its own also where others are absent."""
    months = sorted({row["month"] for row in rows})
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["application"]] += row["usd"]
    unmatched = abs(totals.pop("unmatched", 0))
    total = unmatched + sum(map(abs, totals.values()))
    colours = {name: f"c{n}" for n, (name, _) in enumerate(totals.most_common(LARGEST))}
    colours |= {"other applications": f"c{LARGEST}", "unmatched": f"c{LARGEST + 1}"}
    lines: dict[str, Counter[Any]] = {name: Counter() for name in colours}
    for row in rows:
        name = row["application"] if row["application"] in lines else "other applications"
        lines[name][row["month"]] += row["usd"]
    found: list[Row] = [
        {"name": name, "colour": colours[name], "usd": [of_month[month] for month in months]}
        for name, of_month in lines.items()
        if of_month
    ]
    texts = [month.strftime("%b %Y") for month in months]
    return {
        "months": texts,
        "lines": found,
        "unmatched": unmatched / total if total else None,
        "drawn": columns(texts, {line["colour"]: line["usd"] for line in found}),
    }
