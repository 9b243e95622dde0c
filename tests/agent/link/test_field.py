"""agent/link/field.py."""

import pytest

from agent.errors import RefusedError
from agent.link.field import bounded, check, unique, words


def test_a_bound_that_holds_lets_the_value_through() -> None:
    assert bounded(5, 1, 5, "x") == 5
    assert words(["a", ""], 1, "x") == ("a", "")
    assert words([], 1, "x") == ()
    unique([1, 2], "x")
    check(True, "x", "y")


def test_a_bound_that_breaks_names_the_field_and_what_it_takes() -> None:
    with pytest.raises(RefusedError, match=r"^x: 1\.\.5 s, not 6$"):
        bounded(6, 1, 5, "x", " s")
    with pytest.raises(RefusedError, match=r"^x: 2 comes twice$"):
        unique([1, 2, 2], "x")
    for wrong, said in (
        (["", "a"], "the first not empty"),
        (["a"] * 65, "64"),
        (["a", "b"], "1 bytes"),
        (["\0"], "NUL"),
    ):
        with pytest.raises(RefusedError, match=said):
            words(wrong, 1, "x")
