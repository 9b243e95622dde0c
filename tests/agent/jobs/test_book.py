"""The book: what is noted, what is billed, what may be done after it is on disk."""

from dataclasses import replace

from agent.jobs.book import Book
from agent.jobs.budget import month_of
from agent.jobs.job import Exited, LostRun, Started, StartRun, Stop, WatchRun
from agent.jobs.metering import Reading
from agent.jobs.room import Capacity
from agent.jobs.store import Snapshot
from agent.model import Event, Health, JobState, UsageSample, UsageSeal
from agent.spec import Budget, Desired, Limits, Network, Prices, Priority, Quota, Reserve, Tenant
from tests.fakes.jobs import ROOMY, batch, desired, running, service

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


def test_a_run_that_is_stopped_before_its_start_was_heard_of_is_billed_none_the_less() -> None:
    b = book(replace(running(batch()), state=JobState.STOPPING, reason="withdrawn", pid=0, started_unix_nano=0))
    started(b)
    assert b.jobs["b"].state is JobState.STOPPING
    b.advance("b", Exited("b.1.1", 0, False, 8 * SECOND, 9.0), reading(8, cpu_nano=77))
    assert [body.cpu_nano for body in b.take().outbox if isinstance(body, UsageSample)] == [77]


def test_a_start_that_is_told_again_after_the_end_opens_no_second_bill() -> None:
    b = book(running(service()))
    b.advance("s", Exited("s.1.1", 0, False, 8 * SECOND, 9.0), reading(8, cpu_nano=77))
    b.advance("s", Started("s.1.1", 7, 5 * SECOND, 5.0))
    assert b.meters == {}


def test_a_start_that_is_told_again_is_nothing_new() -> None:
    b = book(running(service(), started_unix_nano=5 * SECOND))
    assert b.advance("s", Started("s.1.1", 7, 5 * SECOND, 5.0)) == []


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


# --- classes, money, months ---

PRICES = Prices(cpu_core_hour_micro=3_600_000)  # one millionth for each millisecond of a core
PREPAID = Tenant("acme", quota=ROOMY, budget=Budget(1000, PRICES))


def admitted(b, wanted, room=ROOM):
    b.reconcile(wanted, 1.0)
    actions = b.admit(wanted, room, 1.0)
    for job in tuple(b.jobs.values()):
        if job.state is JobState.STARTING:
            b.advance(job.spec.id, Started(job.run, 7, 5 * SECOND, 5.0))
    return actions


def cpu(milli, id_, **changes):
    return service(id_, limits=Limits(milli, 1 << 20), **changes)


def test_a_job_takes_the_room_of_a_lower_class_waits_and_is_admitted_before_anybody_else() -> None:
    small = Capacity(1000, 1 << 40, memory_controller=True)
    b, one = book(), desired(cpu(800, "spot"))
    admitted(b, one, small)
    two = desired(cpu(800, "spot"), cpu(300, "third"), cpu(900, "first", priority=Priority.GUARANTEED))
    actions = admitted(b, two, small)
    assert actions == [("spot", Stop("spot.1.1", "TERM"))]
    assert (b.jobs["first"].state, b.jobs["first"].reason) == (JobState.PENDING, "waits-for-room")
    assert b.jobs["spot"].message == "a job of priority guaranteed takes its room"
    assert b.jobs["third"].state is JobState.REJECTED  # the room that comes is promised
    b.advance("spot", Exited("spot.1.1", 143, False, 6 * SECOND, 6.0))
    admitted(b, two, small)
    assert [b.jobs[j].state for j in ("first", "spot", "third")] == [
        JobState.RUNNING, JobState.REJECTED, JobState.REJECTED,
    ]  # fmt: skip


def test_a_victim_without_a_run_gives_its_room_at_once() -> None:
    small = Capacity(1000, 1 << 40, memory_controller=True)
    spot = cpu(800, "spot", image="shop.example/app@sha256:" + "ab" * 32)
    b = book()
    admitted(b, desired(spot), small)
    assert b.jobs["spot"].state is JobState.PREPARING
    admitted(b, desired(spot, cpu(900, "first", priority=Priority.GUARANTEED)), small)
    assert (b.jobs["spot"].state, b.jobs["first"].state) == (JobState.PENDING, JobState.RUNNING)


def test_an_update_keeps_its_place_before_others_that_wait() -> None:
    small = Capacity(1000, 1 << 40, memory_controller=True)
    b = book()
    admitted(b, desired(cpu(800, "other"), cpu(900, "s")), small)
    b.jobs["other"] = replace(b.jobs["other"], state=JobState.FINISHED)
    admitted(b, desired(cpu(900, "s")), small)
    wanted = desired(cpu(700, "other"), cpu(900, "s", generation=2))
    admitted(b, wanted, small)
    b.advance("s", Exited("s.1.1", 143, False, 6 * SECOND, 6.0))
    admitted(b, wanted, small)
    assert (b.jobs["s"].state, b.jobs["s"].spec.generation) == (JobState.RUNNING, 2)


def test_spot_goes_when_trading_begins_and_comes_back_when_it_ends() -> None:
    closed = Capacity(1000, 1 << 40, memory_controller=True)
    opened = replace(closed, reserve=Reserve(500), hours="trading hours 08:00-20:00 UTC")
    b, wanted = book(), desired(cpu(800, "spot"))
    admitted(b, wanted, closed)
    assert b.admit(wanted, opened, 6.0) == [("spot", Stop("spot.1.1", "TERM"))]
    assert "08:00-20:00" in b.jobs["spot"].message
    assert b.admit(wanted, opened, 6.0) == []  # told once
    b.advance("spot", Exited("spot.1.1", 143, False, 7 * SECOND, 7.0))
    admitted(b, wanted, opened)
    assert b.jobs["spot"].state is JobState.REJECTED
    admitted(b, wanted, closed)
    assert b.jobs["spot"].state is JobState.RUNNING


def test_a_quota_that_shrinks_stops_nobody() -> None:
    b = book()
    admitted(b, desired(service()))
    assert admitted(b, desired(service(), quota=Quota())) == []
    assert b.jobs["s"].state is JobState.RUNNING


def test_a_tenant_that_has_spent_all_is_stopped_and_comes_back_when_it_has_paid() -> None:
    poor = Desired(1, (PREPAID,), (service(),))
    b = book()
    admitted(b, poor)
    b.stirred = False
    b.read_meter("s.1.1", reading(6, cpu_nano=999_999_999))
    assert (b.spending["acme"].micro, b.stirred) == (999, False)
    b.read_meter("s.1.1", reading(7, cpu_nano=SECOND))
    assert b.spending["acme"].micro == 1000 and b.stirred
    assert b.take().spending["acme"].micro == 1000
    assert b.admit(poor, ROOM, 7.0) == [("s", Stop("s.1.1", "TERM"))]
    b.advance("s", Exited("s.1.1", 143, False, 8 * SECOND, 8.0))
    b.admit(poor, ROOM, 8.0)
    assert (b.jobs["s"].state, b.jobs["s"].reason) == (JobState.REJECTED, "budget")
    rich = Desired(2, (replace(PREPAID, budget=Budget(2000, PRICES)),), (service(),))
    admitted(b, rich)
    assert b.jobs["s"].state is JobState.RUNNING


def test_what_is_billed_before_the_desired_state_is_known_again_has_its_price() -> None:
    b = book()
    admitted(b, Desired(1, (PREPAID,), (service(),)))
    change = b.take()
    later = Book(Snapshot({"s": b.jobs["s"]}, change.meters, {}, "boot-1", change.spending))
    later.read_meter("s.1.1", reading(6, cpu_nano=SECOND))
    assert later.spending["acme"].micro == 1000


def test_a_month_that_is_used_up_cuts_the_network_and_the_next_one_opens_it() -> None:
    quota = replace(ROOMY, network_bytes_per_month=100, network_bits_per_second=10**9)
    wanted = desired(service(network=Network()), quota=quota)
    b = book()
    admitted(b, wanted, replace(ROOM, network=True))
    assert b.cut(month_of(0)) == {}
    b.read_meter("s.1.1", replace(reading(6), network_receive_bytes=100))
    assert b.cut(month_of(0)) == {"s": "tenant acme: network bytes this month (UTC): 100 of 100 used"}
    assert b.cut(month_of(0) + 1) == {}


def test_a_seal_stands_for_the_heads_it_names_and_later_bills_wait_for_the_next() -> None:
    b = book()
    admitted(b, desired(service()))
    assert not b.unsealed
    b.read_meter("s.1.1", reading(6))
    heads = b.heads()
    assert b.unsealed and [(h.tenant, h.chain_index) for h in heads] == [("acme", 1)]
    b.seal(UsageSeal(heads, b"cert", b"sig"))
    assert not b.unsealed and b.take().outbox[-1] == UsageSeal(heads, b"cert", b"sig")
    b.read_meter("s.1.1", reading(7))
    b.seal(UsageSeal(heads, b"cert", b"sig"))
    assert b.unsealed


def test_looks_at_memory_are_billed_and_survive_a_crash_until_then() -> None:
    b = book()
    admitted(b, desired(service()))
    b.take()
    b.look_at("s.1.1", replace(reading(6), memory_bytes=100))
    b.look_at("ghost.1.1", reading(6))
    assert list(b.take().meters) == ["s.1.1"]
    b.read_meter("s.1.1", replace(reading(7), memory_bytes=300))
    assert b.take().outbox[-1].memory_byte_seconds == 100 + 200


def test_a_view_shows_message_health_image_and_what_was_rolled_back() -> None:
    b = book(running(service(), health=Health.HEALTHY, refused=2), running(batch(), message="3 of 9 MiB"))
    one, two = b.views()
    assert (one.message, one.image, one.health) == ("3 of 9 MiB", "host", Health.UNKNOWN)
    assert (two.message, two.health) == ("generation 2 was rolled back", Health.HEALTHY)


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
