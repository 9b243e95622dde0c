"""agent/errors.py."""

import inspect

import pytest

from agent import errors
from agent.errors import REASONS, EdgeError, RefusedError


def test_every_error_is_of_one_tree_and_drawn_in_it() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, EdgeError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_carries_its_reason_and_the_canonical_code(reason: str) -> None:
    error = RefusedError(reason, "no")
    assert (error.reason, error.code, str(error)) == (reason, REASONS[reason], "no")
    assert 1 <= error.code <= 16  # google.rpc.Code, without OK


def test_a_reason_that_is_not_on_the_list_is_a_bug() -> None:
    with pytest.raises(KeyError):
        RefusedError("BECAUSE", "no")
