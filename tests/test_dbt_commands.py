"""Any dbt commands in any order between landings, ended by one plain build, against the oracle."""

from __future__ import annotations

import contextlib
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from loaders import warehouse
from tests import worlds
from tests.conftest import MIGRATED
from tests.test_dbt_ways import crash, seen
from tests.test_property import DRAWN, agree, begin

__all__ = ["begin"]  # a fixture

PARTS = (
    *("agents", "groups", "group_memberships", "transactions", "fx_rates", "agent_roles"),
    *("int_agents_records", "int_groups_records", "int_group_memberships_records"),
    *("int_transactions_records", "intermediate", "silver", "quarantine", "metrics", "marts"),
    *("+group_memberships", "int_agents_records+", "+row_ledger", "tag:agents", "tag:roles"),
)
_PART = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3)
_SELECTED = st.builds(
    lambda command, option, parts: [command, option, *parts],
    st.sampled_from(["run", "build"]),
    st.sampled_from(["--select", "--exclude"]),
    _PART,
)
_OTHERS = st.sampled_from([["retry"], ["crash"], ["run", "--full-refresh"]])
COMMANDS = st.one_of(*[_SELECTED] * 3, _OTHERS)
MARTS = ("marts.application_spend_monthly", "marts.unused_access", "marts.inactive_groups")


@given(world=worlds.worlds(), commands=st.lists(COMMANDS, min_size=12, max_size=12))
@settings(DRAWN, max_examples=2)
def test_any_commands_end_as_the_oracle_says_once_all_is_built(begin, shared_home, world, commands):
    run, left, done = begin(MIGRATED), iter([*commands[:1], ["crash"], *commands[1:]]), 0
    for number, version, is_built in world.steps:
        run.land(number, world.days[number][version])
        for command in islice(left, 3 * is_built):
            if command == ["crash"]:
                crash(shared_home)
            else:
                # a part may be refused; what counts is what the next whole build makes of it
                with contextlib.suppress(Exception):
                    run.dbt(command[0], "--quiet", *command[1:])
                    done += 1
    assert done
    run.build()
    with warehouse.connect(row_factory=dict_row) as conn:
        built = seen(conn, MARTS)
        run.build("--full-refresh")
        assert seen(conn, MARTS) == built
        agree(conn, run.expected)
