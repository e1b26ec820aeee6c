"""dbt's unit tests: one rule of one model, cases named."""

from collections.abc import Callable
from typing import Any

import pytest


def test_every_unit_test_of_a_model_passes(
    dbt: Callable[..., Any], recwarn: pytest.WarningsRecorder
) -> None:
    assert dbt("build", "--exclude-resource-type", "unit_test").success
    # a query without columns has dbt warn, once a model, in the middle of a first day's progress
    assert [one for one in recwarn if "Column names not specified" in str(one.message)] == []
    result = dbt("test", "--select", "test_type:unit")
    assert {
        node.node.name: node.status
        for node in result.result
        if node.status not in ("pass", "success")
    } == {}
    assert len(result.result) >= 8
