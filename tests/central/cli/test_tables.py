"""central/cli/tables.py; whole documents are in test_document.py."""

import pytest

from central.cli.checks import count
from central.cli.tables import Field, array, table


def test_a_table_takes_its_keys_and_names_the_one_that_is_wrong() -> None:
    check = table({"low": Field(count(1, 2), required=True), "high": Field(count(1, 9))})
    assert check({"low": 1, "high": 9}) == {"low": 1, "high": 9}
    for value, said in (
        ({}, "low: is missing"),
        ({"low": 3}, "low: a number in 1..2, not 3"),
        ({"lwo": 1}, "unknown key 'lwo'; did you mean 'low'? allowed are low, high"),
        (5, "a table with low, high"),
    ):
        with pytest.raises(ValueError, match=f"^{said.replace('?', '[?]')}"):
            check(value)


def test_a_member_of_a_list_is_named_by_its_place() -> None:
    check = array(count(1, 2), 2, "[1]")
    assert check([1, 2]) == [1, 2]
    with pytest.raises(ValueError, match=r"^2\. a number in 1\.\.2, not 5$"):
        check([1, 5])
    with pytest.raises(ValueError, match=r"^a list of at most 2, e\.g\. \[1\]$"):
        check([1, 1, 1])
