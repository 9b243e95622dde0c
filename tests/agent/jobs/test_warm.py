"""Sandboxes made ahead: for runs to come, as many as asked, and gone when they are no longer right."""

from dataclasses import replace

import pytest

from agent.jobs.job import Job
from agent.jobs.warm import Hold, Warm, may_stay, to_hold
from agent.model import JobState
from agent.spec import Limits, Network, Publish
from tests.fakes.jobs import batch, running, service


class Orders(list):
    def __call__(self, job_id, order):
        self.append((job_id, order))

    def take(self):
        """+run for one to hold, -run for one to remove."""
        said = [("+" if isinstance(order, Hold) else "-") + order.run for _, order in self]
        self.clear()
        return said


@pytest.fixture
def orders():
    return Orders()


@pytest.fixture
def warm(orders):
    one = Warm(orders)
    one.begin((), {})
    return one


def of(spec, **changes):
    return running(spec, image="host", **changes)


def test_a_batch_job_holds_its_next_generations_and_a_service_its_next_attempts() -> None:
    assert to_hold(of(batch(generation=7, warm=2))) == ("b.8.1", "b.9.1")
    assert to_hold(of(service(warm=2), attempt=3)) == ("s.1.4", "s.1.5")


def test_nothing_is_held_for_who_is_gone_or_done_or_has_what_only_one_can_have() -> None:
    assert to_hold(of(batch(warm=2), gone=True)) == ()
    assert to_hold(of(service(warm=2), state=JobState.FAILED)) == ()
    assert to_hold(of(batch(warm=2, limits=Limits(100, 32 << 20, disk_bytes=4 << 20)))) == ()
    assert to_hold(of(batch(warm=2, network=Network(publish=(Publish(20001, 80),))))) == ()
    assert to_hold(of(batch())) == ()


def test_holding_begins_once_the_run_is_there_and_not_before(warm, orders) -> None:
    spec = batch(warm=1)
    for state in (JobState.PENDING, JobState.PREPARING, JobState.STARTING):
        warm.follow("b", of(spec, state=state))
    assert orders.take() == []
    warm.follow("b", of(spec))
    warm.follow("b", of(spec, pid=9))
    assert orders.take() == ["+b.2.1"]
    assert warm.holds("b", "b.2.1") and not warm.holds("b", "b.3.1")


def test_the_next_generation_uses_what_was_held_for_it_and_the_row_is_filled_up(warm, orders) -> None:
    spec = batch(warm=2)
    warm.follow("b", of(spec))
    assert orders.take() == ["+b.2.1", "+b.3.1"]
    following = batch(warm=2, generation=2)
    warm.follow("b", of(spec, state=JobState.STOPPING, reason="replaced", successor=following))
    warm.follow("b", Job(following, run="b.1.1"))
    warm.follow("b", of(following, state=JobState.STARTING, run="b.2.1"))
    assert orders.take() == [] and not warm.holds("b", "b.2.1")
    warm.follow("b", of(following, run="b.2.1"))
    assert orders.take() == ["+b.4.1"]


def test_another_spec_makes_held_ones_useless(warm, orders) -> None:
    warm.follow("b", of(batch(warm=2)))
    orders.take()
    warm.follow("b", Job(batch(warm=2, generation=2, command=("/bin/false",)), run="b.1.1"))
    assert sorted(orders.take()) == ["-b.2.1", "-b.3.1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"gone": True},
        {"state": JobState.STOPPING, "reason": "withdrawn"},
        {"state": JobState.STOPPING, "evicted": True},
    ],
)
def test_who_is_leaving_keeps_nothing(warm, orders, changes) -> None:
    warm.follow("s", of(service(warm=1)))
    orders.take()
    warm.follow("s", of(service(warm=1), **changes))
    assert orders.take() == ["-s.1.2"]
    assert warm._held == {}


def test_a_forgotten_job_leaves_nothing(warm, orders) -> None:
    warm.follow("s", of(service(warm=1)))
    orders.take()
    warm.follow("s", None)
    assert orders == [] or orders.take() == ["-s.1.2"]


def test_a_service_restarts_into_what_was_held(warm, orders) -> None:
    warm.follow("s", of(service(warm=1)))
    orders.take()
    warm.follow("s", of(service(warm=1), state=JobState.BACKING_OFF))
    warm.follow("s", of(service(warm=1), state=JobState.STARTING, attempt=2, run="s.1.2"))
    assert orders.take() == []
    warm.follow("s", of(service(warm=1), attempt=2, run="s.1.2"))
    assert orders.take() == ["+s.1.3"]


def test_after_a_start_of_the_agent_what_is_held_rightly_stays_and_the_rest_is_nobodys(orders) -> None:
    one = Warm(orders)
    jobs = {"b": of(batch(warm=2)), "s": of(service(warm=1))}
    for job_id, job in jobs.items():
        one.follow(job_id, job)
    assert orders.take() == [], "not before it is known what the launcher holds"
    assert one.begin(["b.2.1", "b.9.1", "ghost.1.2"], jobs) == {"b.9.1", "ghost.1.2"}
    assert sorted(orders.take()) == ["+b.3.1", "+s.1.2"]


def test_a_smaller_number_lets_go_of_the_rest(warm, orders) -> None:
    warm.follow("b", of(batch(warm=3)))
    orders.take()
    warm.follow("b", of(batch(warm=3, generation=2), run="b.2.1"))
    orders.take()
    warm.follow("b", of(batch(warm=1, generation=3), run="b.3.1"))
    left = set(warm._held.get("b", ()))
    assert left == {"b.4.1"}


def test_the_run_that_is_about_to_begin_stays() -> None:
    job = replace(of(service(warm=1)), state=JobState.BACKING_OFF)
    assert "s.1.2" in may_stay(job)
