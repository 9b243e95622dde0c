"""Processor time and utilization."""

from agent.telemetry.collectors.cpu import CpuCollector, Times, read
from agent.telemetry.sample import Sample


def core(user: float, idle: float, iowait: float = 0.0) -> Times:
    return {"user": user, "nice": 0, "system": 0, "idle": idle, "iowait": iowait, "interrupt": 0, "steal": 0}


def utilization(samples: list[Sample]) -> dict[str, float]:
    """By core; "" is all of them."""
    return {dict(s.attributes).get("cpu.logical_number", ""): s.value for s in samples if s.unit == "1"}


def test_utilization_is_the_busy_share_since_the_reading_before() -> None:
    readings = [[core(0, 0), core(0, 0)], [core(3, 1), core(0, 4)]]
    cpu = CpuCollector(lambda: readings.pop(0))
    assert utilization(list(cpu.collect())) == {}
    assert utilization(list(cpu.collect())) == {"": 0.375, "0": 0.75, "1": 0.0}


def test_waiting_for_a_disk_is_idle_and_running_backwards_is_nothing() -> None:
    readings = [[core(0, 0, iowait=5)], [core(1, 1, iowait=4)], [core(1, 1, iowait=6)]]
    cpu = CpuCollector(lambda: readings.pop(0))
    list(cpu.collect())
    assert utilization(list(cpu.collect()))["0"] == 0.5
    assert utilization(list(cpu.collect()))["0"] == 0.0


def test_a_core_that_comes_or_goes_costs_one_utilization() -> None:
    readings = [[core(0, 0)], [core(1, 1), core(0, 0)], [core(2, 2), core(1, 0)]]
    cpu = CpuCollector(lambda: readings.pop(0))
    assert [len(utilization(list(cpu.collect()))) for _ in range(3)] == [0, 0, 3]


def test_two_readings_at_one_moment_have_no_utilization() -> None:
    cpu = CpuCollector(lambda: [core(1, 1)])
    list(cpu.collect())
    assert utilization(list(cpu.collect())) == {}


def test_this_host_has_processor_time() -> None:
    assert all(sum(times.values()) > 0 for times in read())
