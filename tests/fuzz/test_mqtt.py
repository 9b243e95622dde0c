"""What devices may send never surprises what reads it first: 300 of each in `./dev test`, minutes by `./dev fuzz`."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mqtt import TARGETS
from tests.fuzz.mqtt_seeds import SEEDS

INPUTS = 20_000 if os.environ.get("EDGE_FUZZ") == "full" else 300
_piece = st.binary(max_size=24)


def _bent(seed: bytes, at: int, gone: int, new: bytes) -> bytes:
    """A sound one with a piece replaced."""
    at %= len(seed) + 1
    return seed[:at] + new + seed[at + gone :]


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_comes_is_read_or_refused_within_bounds(target: str) -> None:
    seeds = st.sampled_from(SEEDS[target])
    bent = st.builds(_bent, seeds, st.integers(0, 400), st.integers(0, 8), _piece)
    inputs = st.binary(max_size=300) | bent | st.lists(seeds | bent, max_size=4).map(b"".join)

    @settings(max_examples=INPUTS, suppress_health_check=list(HealthCheck), database=None)
    @given(inputs)
    def check(data: bytes) -> None:
        TARGETS[target](data)

    check()


@pytest.mark.parametrize("target", TARGETS)
def test_the_seeds_are_sound(target: str) -> None:
    for seed in SEEDS[target]:
        TARGETS[target](seed)
