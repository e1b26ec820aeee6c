"""Group activity: linear in groups, and against bare recursive queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.raw_days import day_text, write_day
from benchmarks.stage import Measure, alternate, build, scratch_warehouse, seconds
from loaders.days import parse_day
from loaders.landing import land_day

if TYPE_CHECKING:
    from psycopg import Connection

NODES = ("group_activity",)
SCATTERED = "(i * 2654435761 % 4294967296)"
# Blocks of 1,000 groups, some 100 deep; in one of a hundred the root has its own child for a
# parent. One agent in ten is active, and a group has 0 to 6 members: all kinds of groups occur.
FILL = f"""
truncate silver.groups, silver.agents, silver.group_memberships, metrics.group_activity;
insert into silver.agents (agent_id, email, name, status, first_seen_day, last_seen_day,
    _day, _batch_id, _source_file, _source_row, _updated_at)
select i, 'a@example.com', 'Agent', case when i % 10 = 0 then 'active' else 'inactive' end,
    '{day_text(0)}', '{day_text(0)}', '{day_text(0)}', 1, 'agents.csv', i, now()
from generate_series(1, greatest(:groups / 2, 10)) as i;
insert into silver.groups (group_id, name, parent_group_id, is_present,
    _day, _batch_id, _source_file, _source_row, _updated_at)
select i, 'Group ' || i,
    case
        when i % 1000 > 0 then i - 1 - {SCATTERED} % least(i % 1000, 20)
        when i / 1000 % 100 = 7 then i + 1
    end,
    true, '{day_text(0)}', 1, 'groups.csv', i, now()
from generate_series(1000::bigint, 999 + :groups::bigint) as i;
insert into silver.group_memberships (group_id, agent_id,
    _day, _batch_id, _source_file, _source_row, _updated_at)
select i, ({SCATTERED} + step * 7919) % greatest(:groups / 2, 10) + 1,
    '{day_text(0)}', 1, 'groups.csv', i, now()
from generate_series(1000::bigint, 999 + :groups::bigint) as i
cross join lateral generate_series(1, i % 7) as step
on conflict do nothing;
analyze silver.groups, silver.agents, silver.group_memberships;
"""
CHANGE = """
update silver.agents set status = case status when 'active' then 'inactive' else 'active' end
where agent_id::bigint % 1000 = :turn;
update silver.groups set parent_group_id = parent_group_id::bigint - 1
where group_id::bigint % 1000 = 500 + :turn;
"""
ACTIVE = """
active as (
    select memberships.group_id
    from silver.group_memberships as memberships
    inner join silver.agents as agents on memberships.agent_id = agents.agent_id
    where agents.status = 'active'
    union
    select edges.parent_group_id from active inner join edges on active.group_id = edges.group_id
)
"""
EDGES = """
edges as (
    select child.group_id, child.parent_group_id
    from silver.groups as child
    inner join silver.groups as parent on child.parent_group_id = parent.group_id
)
"""
BARE = f"""
create temp table bare as
with recursive {EDGES}, {ACTIVE},
placed as (
    select groups.group_id, 0 as depth, groups.group_id as root_group_id
    from silver.groups as groups
    left join edges on groups.group_id = edges.group_id
    where edges.group_id is null
    union all
    select edges.group_id, placed.depth + 1, placed.root_group_id
    from placed inner join edges on placed.group_id = edges.parent_group_id
)
select groups.group_id, active.group_id is null as inactive, placed.depth, placed.root_group_id
from silver.groups as groups
left join active on groups.group_id = active.group_id
left join placed on groups.group_id = placed.group_id;
"""
NAIVE = f"""
create temp table naive as
with recursive {EDGES},
walked as (
    select group_id, group_id as above, array[group_id] as path from silver.groups
    union all
    select walked.group_id, edges.parent_group_id, walked.path || edges.parent_group_id
    from walked inner join edges on walked.above = edges.group_id
    where edges.parent_group_id <> all(walked.path)
),
members as (
    select distinct memberships.group_id
    from silver.group_memberships as memberships
    inner join silver.agents as agents on memberships.agent_id = agents.agent_id
    where agents.status = 'active'
)
select groups.group_id, not exists (
    select 1 from walked inner join members on walked.group_id = members.group_id
    where walked.above = groups.group_id
) as inactive
from silver.groups as groups;
"""


def run(folder: Path, *, quick: bool) -> list[Measure]:
    sizes = (1_000, 2_000) if quick else (10_000, 100_000, 1_000_000)
    measures, first_builds = [], {}
    with scratch_warehouse(folder) as conn:
        write_day(folder / "data", 0)
        land_day(folder / "data", parse_day(day_text(0)))
        build("build", "--exclude-resource-type", "unit_test", "test", day=day_text(0))
        for groups in sizes:
            conn.execute(FILL.replace(":groups", str(groups)))
            with_naive = groups == sizes[0]
            took = alternate(_contestants(conn, with_naive), 1 if quick else 3)
            first_builds[groups] = took["first"]
            measures += _measured(f"{groups:,} groups", took, aim=groups == sizes[-1])
    small, large = sizes[-2:]
    per_group = {n: first_builds[n] / n * 1e6 for n in (small, large)}
    what, size = f"a group's share of the time, against {small:,} groups", f"{large:,} groups"
    share = Measure(what, size, per_group[large], per_group[small], "<= 1.5", unit="µs")
    return [*measures, share]


def _contestants(conn: Connection, with_naive: bool) -> dict:
    def first(_turn: int) -> float:
        conn.execute("drop table if exists metrics.group_activity cascade")
        conn.execute("checkpoint")
        return sum(build("run", "--select", *NODES).values())

    def rebuild(turn: int) -> float:
        if conn.execute("select to_regclass('metrics.group_activity')").fetchone() == (None,):
            first(turn)
        conn.execute(CHANGE.replace(":turn", str(turn + 1)))
        conn.execute("checkpoint")
        return sum(build("run", "--select", *NODES).values())

    found = {"first": first, "rebuild": rebuild, "bare": lambda _: _created(conn, "bare", BARE)}
    return found | ({"naive": lambda _: _created(conn, "naive", NAIVE)} if with_naive else {})


def _created(conn: Connection, name: str, statement: str) -> float:
    conn.execute(f"drop table if exists {name}")
    conn.execute("checkpoint")
    took = seconds(lambda: conn.execute(statement))
    # Another answer would be another question.
    if conn.execute("select to_regclass('metrics.group_activity')").fetchone() != (None,):
        (differing,) = conn.execute(
            f"select count(*) from {name} full join metrics.group_activity as ours using (group_id)"
            f" where {name}.inactive is distinct from ours.inactive"
        ).fetchone()
        if differing:
            raise RuntimeError(f"{name} and metrics.group_activity differ in {differing} groups")
    return took


def _measured(size: str, took: dict[str, float], *, aim: bool) -> list[Measure]:
    first, bare, limit = took["first"], took["bare"], "<= 1.5" if aim else None
    found = [
        Measure("first build against the bare query", size, first, bare, limit),
        Measure("a day's rebuild against the bare query", size, took["rebuild"], bare),
    ]
    if "naive" in took:
        found.append(Measure("first build against walking up", size, first, took["naive"]))
    return found
