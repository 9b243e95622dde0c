"""What fits a named value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import DeviceValue
from agent.mqtt.registry.decoded import named


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", 1),
        ("n" * 129, 1),
        ("é" * 65, 1),
        ("n", None),
        ("n", "x" * 513),
        ("n", "\ud800"),
        ("n", float("nan")),
        ("n", float("inf")),
        ("n", 10**400),
    ],
)
def test_what_does_not_fit_is_left_out_and_nothing_is_cut(name, value):
    assert named(name, value) is None


def test_an_integer_that_64_bits_cannot_hold_becomes_a_float():
    assert named("n", (1 << 63) - 1) == DeviceValue("n", (1 << 63) - 1)
    found = named("n", 1 << 63)
    assert found is not None and isinstance(found.value, float)


def test_a_unit_that_is_too_long_is_none_and_a_time_beyond_all_time_too():
    assert named("n", 1, "u" * 33) == DeviceValue("n", 1)
    assert named("n", True, "u", 1 << 60) == DeviceValue("n", True, "u")
    assert named("n", 1, "", 5) == DeviceValue("n", 1, "", 5_000_000)


@given(st.text(), st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none()), st.text(), st.integers(0))
def test_every_value_fits_the_record(name, value, unit, time_milli):
    found = named(name, value, unit, time_milli)
    if found is not None:
        assert 0 < len(found.name.encode()) <= 128 and len(found.unit.encode()) <= 32
        assert 0 <= found.time_unix_nano < 1 << 64
        if isinstance(found.value, str):
            assert len(found.value.encode()) <= 512
        elif not isinstance(found.value, float):
            assert -(1 << 63) <= found.value < 1 << 63
