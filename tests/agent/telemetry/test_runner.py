"""One collector's fault is its own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest

from agent.model import MetricKind
from agent.telemetry import runner as subject
from agent.telemetry.runner import Runner
from agent.telemetry.sample import Collector, Sample


@dataclass
class Asked:
    """A collector that does what the test says."""

    answer: Callable[[], Iterable[Sample]]

    def collect(self) -> Iterable[Sample]:
        return self.answer()


def one(name: str = "m") -> Sample:
    return Sample(name, 1, "1", MetricKind.GAUGE)


def well() -> Iterable[Sample]:
    return [one("well")]


def runner(**collectors: Callable[[], Iterable[Sample]]) -> Runner:
    table: dict[str, Collector] = {name: Asked(answer) for name, answer in collectors.items()}
    return Runner(table, lambda: 0.0)


def success(samples: list[Sample]) -> dict[str, float]:
    return {s.attributes[0][1]: s.value for s in samples if s.name == "edge.agent.collector.success"}


def names(samples: list[Sample]) -> list[str]:
    return [s.name for s in samples if not s.name.startswith("edge.agent.collector.")]


def broken() -> Iterator[Sample]:
    yield one("before")
    raise OSError("gone")


async def test_an_exception_shows_as_failure_and_hurts_nobody_else() -> None:
    samples = await runner(a=well, b=broken, c=well).collect(10)
    assert success(samples) == {"a": 1, "b": 0, "c": 1}
    assert names(samples) == ["well", "before", "well"]


async def test_nothing_to_read_is_no_failure_and_shows_as_no_samples() -> None:
    samples = await runner(fan=list).collect(10)
    assert {s.name: s.value for s in samples} == {
        "edge.agent.collector.success": 1,
        "edge.agent.collector.duration": 0,
        "edge.agent.collector.samples": 0,
    }


async def test_a_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = [broken, broken, well, well]
    subject = runner(disk=lambda: answers.pop(0)())
    for _ in range(4):
        await subject.collect(10)
    assert [record.message for record in caplog.records] == ["collector fails", "collector works again"]
    assert vars(caplog.records[0])["error"] == "OSError: gone"


async def test_a_hanging_collector_is_left_alone_until_it_comes_back() -> None:
    go, asked = threading.Event(), 0

    def hanging() -> Iterator[Sample]:
        nonlocal asked
        asked += 1
        yield one("before")
        go.wait(30)

    def behind() -> Iterable[Sample]:
        seen.append(threading.current_thread())
        return well()

    seen: list[threading.Thread] = []
    subject = runner(a=well, b=hanging, c=behind)
    first = await subject.collect(0.2)
    assert success(first) == {"a": 1, "b": 0}, "c stands behind the hanging one and waits for the next tick"
    assert names(first) == ["well", "before"]
    second = await subject.collect(10)
    assert success(second) == {"a": 1, "b": 0, "c": 1}
    assert asked == 1, "it was not asked again while it hung"

    (thread,) = subject._hung.values()
    go.set()
    thread.join(10)
    assert thread not in seen, "who comes back late goes home: a collector is never in two threads"
    assert success(await subject.collect(10)) == {"a": 1, "b": 1, "c": 1}


def test_a_hanging_collector_does_not_hold_up_the_end_of_the_process() -> None:
    go = threading.Event()

    def hanging() -> Iterable[Sample]:
        go.wait(30)
        return []

    subject = runner(a=hanging)
    assert success(asyncio.run(subject.collect(0.05))) == {"a": 0}  # asyncio.run joins every thread of its own pool
    (thread,) = subject._hung.values()
    assert thread.daemon
    go.set()
    thread.join(10)  # comes back after its loop is closed, and says nothing


async def test_the_loop_goes_on_while_collectors_work() -> None:
    go = threading.Event()

    def slow() -> Iterable[Sample]:
        go.wait(30)
        return well()

    async with asyncio.TaskGroup() as group:
        collecting = group.create_task(runner(a=slow).collect(30))
        await asyncio.sleep(0)
        go.set()  # reached only because collect() gave the loop back
    assert success(collecting.result()) == {"a": 1}


async def test_more_samples_than_a_collector_may_give_are_a_failure() -> None:
    samples = await runner(network=lambda: (one() for _ in range(10**9))).collect(30)
    assert success(samples) == {"network": 0}
    assert len(names(samples)) == subject.MAX_SAMPLES
