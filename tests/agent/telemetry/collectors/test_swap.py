"""Swap."""

from agent.telemetry.collectors.swap import Swap, SwapCollector, read


def test_a_box_without_swap_yields_nothing() -> None:
    assert list(SwapCollector(lambda: Swap(0, 0, 0, 0)).collect()) == []


def test_used_and_free_make_the_whole() -> None:
    samples = list(SwapCollector(lambda: Swap(100, 25, 3, 4)).collect())
    assert [s.value for s in samples] == [25, 75, 0.25, 3, 4]


def test_this_host_can_be_asked() -> None:
    swap = read()
    assert 0 <= swap.used <= swap.total
