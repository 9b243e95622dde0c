"""agent/spec.py."""

import dataclasses
import inspect

from agent import spec
from agent.spec import Priority
from storeedge.v1 import desired_pb2


def test_numbers_of_classes_are_those_of_the_wire() -> None:
    wire = {name: number for name, number in desired_pb2.Priority.items() if number}
    assert {f"PRIORITY_{kind.name}": int(kind) for kind in Priority} == wire


def test_what_is_desired_can_not_be_changed_by_who_it_is_handed_to() -> None:
    nouns = [noun for _, noun in inspect.getmembers(spec, dataclasses.is_dataclass)]
    assert len(nouns) > 15
    assert all(noun.__dataclass_params__.frozen for noun in nouns)  # type: ignore[attr-defined] # CPython's own attribute
