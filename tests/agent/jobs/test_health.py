"""The tally of health checks: when a run is called healthy, and when it is given up."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.health import Tally, count
from agent.jobs.job import Healthy, Unhealthy
from agent.model import Health
from agent.spec import HealthCheck

CHECK = HealthCheck(tcp_port=80, failures=3, start_seconds=30)
NEW = Tally("s.1.1", CHECK, began_at=100.0)


def after(tally, *results):
    told = []
    for passed, at in results:
        tally, event = count(tally, passed, "" if passed else "refused", at)
        told += [event] if event is not None else []
    return tally, told


def test_the_first_success_is_told_once() -> None:
    tally, told = after(NEW, (True, 101.0), (True, 111.0))
    assert told == [Healthy("s.1.1", 101.0)] and tally.health is Health.HEALTHY


def test_only_failures_in_a_row_end_a_run() -> None:
    healthy, _ = after(NEW, (True, 101.0))
    assert after(healthy, (False, 111.0), (False, 121.0), (True, 131.0), (False, 141.0), (False, 151.0))[1] == []
    _, told = after(healthy, (False, 111.0), (False, 121.0), (False, 131.0))
    assert told == [Unhealthy("s.1.1", "check failed 3 times in a row: refused", 131.0)]


def test_what_is_still_starting_up_is_not_ill() -> None:
    tally, told = after(NEW, *((False, 100.0 + n) for n in range(0, 30, 2)))
    assert told == [] and tally.failures == 0
    _, told = after(tally, (False, 130.0), (False, 140.0), (False, 150.0))
    assert [event.at for event in told] == [150.0]


def test_the_first_success_ends_the_time_of_starting_up() -> None:
    _, told = after(NEW, (True, 101.0), (False, 102.0), (False, 103.0), (False, 104.0))
    assert [type(event) for event in told] == [Healthy, Unhealthy]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5), st.integers(0, 60))
def test_each_is_told_at_most_once_and_nothing_after_the_end(results, failures, start_seconds) -> None:
    tally = replace(NEW, check=replace(CHECK, failures=failures, start_seconds=start_seconds))
    _, told = after(tally, *((passed, 100.0 + n) for n, passed in enumerate(results)))
    assert [type(event) for event in told] in ([], [Healthy], [Unhealthy], [Healthy, Unhealthy])
