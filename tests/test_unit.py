"""dbt's unit tests: one rule of one model, cases named."""


def test_every_unit_test_of_a_model_passes(dbt, recwarn):
    assert dbt("build", "--exclude-resource-type", "unit_test").success
    # a query without columns has dbt warn, once a model, in the middle of a first day's progress
    assert [one for one in recwarn if "Column names not specified" in str(one.message)] == []
    result = dbt("test", "--select", "test_type:unit")
    failed = [each.node.name for each in result.result if each.status not in ("pass", "success")]
    assert failed == []
    assert len(result.result) >= 8
