"""metrics.current_day: readers who join tables during a build can tell a whole day from a mix."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from loaders import warehouse
from tests.silver_world import agent, group
from tests.watching import tuples, until

# One statement is one snapshot: on day k each of these counts is k.
JOINED = """
select
    current_day.is_complete,
    (select count(*) from silver.agents where status = 'active'),
    (select count(*) from silver.group_memberships where group_id = '10'),
    (select active_members from metrics.group_activity where group_id = '10'),
    (select members from marts.inactive_groups where group_id = '11')
from metrics.current_day
"""


def day_of(size: int) -> dict[str, Any]:
    active, left = range(1, size + 1), range(101, 101 + size)
    return {
        "agents": [agent(number) for number in active],
        "agent_details": [agent(number) for number in [*active, *left]],
        "groups": [group(10, list(active)), group(11, list(left))],
    }


def test_eight_readers_who_join_see_a_whole_day_or_that_it_is_incomplete(world):
    def state() -> tuple[bool, str]:
        (row,) = tuples(world.db, "select is_complete, day::text from metrics.current_day")
        return row

    over, seen = threading.Event(), set()

    def read_on() -> None:
        with warehouse.connect(autocommit=True) as conn:
            while not over.is_set():
                seen.update(conn.execute(JOINED).fetchall())

    readers = [threading.Thread(target=read_on) for _ in range(8)]
    world.day("day1", **day_of(1))
    for reader in readers:
        reader.start()
    try:
        until(lambda: (True, *[1] * 4) in seen)
        for size in (2, 3):
            world.day(f"day{size}", **day_of(size))
            assert state() == (True, f"1970-01-0{size + 1}")
            until(lambda size=size: (True, *[size] * 4) in seen)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    whole = {row[1:] for row in seen if row[0]}
    assert whole == {(size,) * 4 for size in (1, 2, 3)}
    assert {row[0] for row in seen} == {True, False}

    world.build("--select", "groups")  # a part leaves it open
    assert state() == (False, "1970-01-04")
    world.build()
    assert state()[0]
    world.db.execute("alter table marts.inactive_groups add constraint four check (members < 4)")
    world.land("day4", **day_of(4))
    with pytest.raises(AssertionError, match="inactive_groups"):
        world.build()
    assert state() == (False, "1970-01-04")
    world.db.execute("alter table marts.inactive_groups drop constraint four")
    world.build()
    assert state() == (True, "1970-01-05")
