"""agent/model.py."""

import dataclasses
import inspect

from agent import model
from agent.model import MetricKind, RecordClass
from storeedge.v1 import record_pb2, types_pb2


def test_numbers_of_record_classes_are_those_of_the_wire() -> None:
    wire = {name: number for name, number in types_pb2.RecordClass.items() if number}
    assert {f"RECORD_CLASS_{kind.name}": int(kind) for kind in RecordClass} == wire


def test_numbers_of_metric_kinds_are_those_of_the_wire() -> None:
    wire = {name: number for name, number in record_pb2.MetricKind.items() if number}
    assert {f"METRIC_KIND_{kind.name}": int(kind) for kind in MetricKind} == wire


def test_nouns_can_not_be_changed_by_who_they_are_handed_to() -> None:
    nouns = [noun for _, noun in inspect.getmembers(model, dataclasses.is_dataclass)]
    assert len(nouns) > 15
    changeable = [noun for noun in nouns if not noun.__dataclass_params__.frozen]  # type: ignore[attr-defined] # CPython's own attribute
    assert changeable == [model.DeviceMessage]  # one for each message: a frozen one takes five times as long to make
