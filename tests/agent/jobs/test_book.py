"""The book: what is noted, what is billed, what may be done after it is on disk."""

from dataclasses import replace

from agent.jobs.book import Book
from agent.jobs.job import Exited, LostRun, Started, StartRun, WatchRun
from agent.jobs.metering import Reading
from agent.jobs.room import Capacity
from agent.jobs.store import Snapshot
from agent.model import Event, JobState, UsageSample
from agent.spec import Quota
from tests.fakes.jobs import batch, desired, running, service

SECOND = 1_000_000_000
ROOM = Capacity(10_000, 1 << 40, memory_controller=True)


def book(*jobs):
    return Book(Snapshot({job.spec.id: job for job in jobs}, {}, {}, "boot-1"))


def reading(seconds, cpu_nano=0):
    return Reading(seconds * SECOND, seconds * SECOND, cpu_nano, None, 0)


def started(b):
    b.advance("b", Started("b.1.1", 7, 5 * SECOND, 5.0))


def test_a_change_is_taken_once() -> None:
    b = book()
    b.reconcile(desired(batch()), 1.0)
    change = b.take()
    assert list(change.jobs) == ["b"] and not change.is_empty()
    assert b.take().is_empty()


def test_reports_go_to_the_outbox_and_actions_to_the_caller() -> None:
    b = book()
    b.reconcile(desired(batch()), 1.0)
    actions = b.admit(desired(batch()), ROOM, 1.0)
    assert actions == [("b", StartRun("b.1.1", batch(), "host"))]
    assert [event.state for event in b.take().outbox] == [JobState.PENDING, JobState.STARTING]


def test_admission_counts_what_it_has_just_admitted() -> None:
    wanted = desired(batch("one"), batch("two"), quota=Quota(jobs=1, cpu_milli=9999, memory_bytes=1 << 40))
    b = book()
    b.reconcile(wanted, 1.0)
    b.admit(wanted, ROOM, 1.0)
    assert (b.jobs["one"].state, b.jobs["two"].state) == (JobState.STARTING, JobState.REJECTED)


def test_a_run_is_billed_from_its_own_beginning_to_its_last_reading() -> None:
    b = book(replace(running(batch()), state=JobState.STARTING))
    started(b)
    b.advance("b", Exited("b.1.1", 0, False, 8 * SECOND, 9.0), reading(8, cpu_nano=77))
    change = b.take()
    sample = next(body for body in change.outbox if isinstance(body, UsageSample))
    assert (sample.wall_nano, sample.cpu_nano, sample.start_unix_nano) == (3 * SECOND, 77, 5 * SECOND)
    assert change.meters == {"b.1.1": None} and b.meters == {}


def test_a_reading_that_comes_after_the_end_is_not_billed() -> None:
    b = book(replace(running(batch()), state=JobState.STARTING))
    started(b)
    b.advance("b", LostRun("b.1.1", 9.0))
    b.take()
    b.read_meter("b.1.1", reading(10, cpu_nano=99))
    assert b.take().is_empty()


def test_seeing_a_run_again_does_not_open_a_second_meter() -> None:
    b = book(replace(running(batch()), state=JobState.STARTING))
    started(b)
    b.read_meter("b.1.1", reading(7, cpu_nano=10))
    started(b)
    b.advance("b", Exited("b.1.1", 0, False, 8 * SECOND, 9.0), reading(8, cpu_nano=12))
    assert sum(body.cpu_nano for body in b.take().outbox if isinstance(body, UsageSample)) == 12


def test_a_reboot_closes_meters_without_a_bill_and_is_noted_with_what_it_did() -> None:
    b = book(running(batch()))
    started(b)
    b.take()
    b.reboot("boot-2", 3.0)
    change = b.take()
    assert change.boot_id == "boot-2" and change.meters == {"b.1.1": None}
    assert [(body.state, body.reason) for body in change.outbox] == [(JobState.LOST, "reboot")]


def test_room_that_comes_free_stirs_the_book() -> None:
    b = book(running(service()))
    assert not b.stirred
    b.advance("s", Exited("s.1.1", 0, False, 1, 9.0))
    assert not b.stirred  # it backs off, and keeps its room
    b = book(running(batch()))
    b.advance("b", Exited("b.1.1", 0, False, 1, 9.0))
    assert b.stirred


def test_after_a_crash_open_orders_are_given_again() -> None:
    assert book(running(batch())).resume() == [("b", WatchRun("b.1.1"))]


def test_news_of_an_unknown_job_is_nothing() -> None:
    b = book()
    assert b.advance("ghost", LostRun("ghost.1.1", 1.0)) == []
    assert b.take().is_empty()


def test_views_are_in_order_and_hide_what_is_gone() -> None:
    gone = replace(running(batch("a")), state=JobState.FINISHED, gone=True)
    b = book(running(service()), running(batch()), gone)
    assert [v.id for v in b.views()] == ["b", "s"]
    assert b.views()[0].pid == 7


def test_events_carry_what_a_tenant_needs() -> None:
    b = book(running(batch()))
    b.advance("b", Exited("b.1.1", 3, False, 1, 9.0))
    assert b.take().outbox == [
        Event("job.state", "acme", "b", 1, 1, JobState.FAILED, "exit-code", "ended with code 3", 3)
    ]
