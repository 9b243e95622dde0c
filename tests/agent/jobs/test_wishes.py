"""What people want of a job: withdrawn, replaced, returned, stopped, admitted or told to wait."""

from dataclasses import replace

import pytest

from agent.jobs.job import (
    Admitted,
    Evicted,
    Exited,
    Job,
    Prepare,
    Prepared,
    PrepareFailed,
    Rejected,
    RemoveDisk,
    RemoveRun,
    Replaced,
    Returned,
    StartRun,
    Stop,
    StopAsked,
    Waits,
    Withdrawn,
)
from agent.jobs.machine import step
from agent.jobs.moves import leaving
from agent.model import Event as Report
from agent.model import JobState
from tests.fakes.jobs import batch, running, service, walk

P, G, S, R, T = JobState.PENDING, JobState.PREPARING, JobState.STARTING, JobState.RUNNING, JobState.STOPPING
B, F, X, J = JobState.BACKING_OFF, JobState.FINISHED, JobState.FAILED, JobState.REJECTED
DIGEST = "sha256:" + "ab" * 32


def test_a_replaced_service_stops_first_and_both_ends_are_told() -> None:
    new = service(generation=2)
    job, commands = step(running(service()), Replaced(new, 1.0))
    assert commands[0] == Stop("s.1.1", "TERM") and job.state is T
    job, commands = step(job, Exited("s.1.1", 143, oom=False, ended_unix_nano=3, at=1.5))
    assert (job.spec, job.state, job.attempt) == (new, P, 0)
    assert [(c.generation, c.state, c.reason) for c in commands] == [(1, F, "replaced"), (2, P, "")]
    job, commands = step(job, Admitted(2.0))
    assert commands[0] == StartRun("s.2.1", new, "host", before="s.1.1")


def test_withdrawn_wins_over_a_replacement_that_waits() -> None:
    job, _ = walk(running(service()), Replaced(service(generation=2), 1.0), Withdrawn(1.1))
    job, commands = step(job, Exited("s.1.1", 143, oom=False, ended_unix_nano=3, at=1.5))
    assert (job.state, job.reason, job.gone) == (F, "withdrawn", True)
    assert commands[0] == RemoveRun("s.1.1")


def test_a_withdrawn_service_that_returns_runs_again_under_a_new_run_name() -> None:
    spec = service()
    job, _ = walk(running(spec), Withdrawn(1.0), Exited("s.1.1", 143, oom=False, ended_unix_nano=3, at=1.5))
    job, _ = walk(job, Returned(spec), Admitted(2.0))
    assert (job.state, job.run, job.gone) == (S, "s.1.2", False)


def test_a_batch_job_that_ran_and_returns_is_shown_but_not_run() -> None:
    spec = batch()
    job, _ = walk(running(spec), Exited("b.1.1", 0, oom=False, ended_unix_nano=3, at=1.5), Withdrawn(2.0))
    assert job.gone
    job, commands = step(job, Returned(spec))
    assert (job.state, job.gone, commands) == (F, False, ())


def test_an_update_to_another_image_leaves_the_old_run_alone_until_the_image_is_here() -> None:
    new = service(generation=2, image="shop.example/app@" + DIGEST)
    job, commands = step(running(service()), Replaced(new, 1.0))
    assert (job.state, job.successor, commands) == (R, new, (Prepare(new),))
    job, commands = step(job, Prepared(new.image, DIGEST, 60.0))
    assert job.state is T and commands[0] == Stop("s.1.1", "TERM")


def test_news_of_an_image_that_is_no_longer_wanted_changes_nothing() -> None:
    new = service(generation=2, image="shop.example/app@" + DIGEST)
    job, _ = walk(running(service()), Replaced(new, 1.0), Replaced(replace(new, generation=3, image="x"), 2.0))
    assert step(job, Prepared(new.image, DIGEST, 60.0)) == (job, ())


def test_an_update_whose_image_is_refused_never_stops_what_runs() -> None:
    new = service(generation=2, image="shop.example/app@" + DIGEST, healthy_seconds=30)
    job, commands = walk(running(service()), Replaced(new, 1.0), PrepareFailed(new.image, "too big", 9.0))
    assert (job.state, job.spec.generation, job.refused, job.successor) == (R, 1, 2, None)
    told = commands[-1]
    assert (told.generation, told.state, told.reason, told.message) == (2, X, "image-refused", "too big")


def test_an_update_without_a_rollback_window_takes_its_chances() -> None:
    new = service(generation=2, image="shop.example/app@" + DIGEST)
    job, _ = walk(running(service()), Replaced(new, 1.0), PrepareFailed(new.image, "too big", 9.0))
    assert (job.state, job.successor) == (T, new)


def test_the_stop_signal_is_the_one_that_the_job_named() -> None:
    _, commands = step(running(service(stop_signal="INT")), StopAsked(1.0))
    assert commands[0] == Stop("s.1.1", "INT")


def test_a_job_that_waits_for_room_says_so_and_is_admitted_later() -> None:
    job, commands = step(Job(service()), Waits("waits-for-room", "1 of lower priority must stop first"))
    assert (job.state, job.reason) == (P, "waits-for-room") and commands[0].message == job.message
    assert step(job, Admitted(2.0))[0].state is S


def test_a_withdrawn_job_takes_its_disk_along_and_a_finished_one_keeps_it() -> None:
    job = running(batch(), disk_bytes=8 << 20)
    job, commands = step(job, Exited("b.1.1", 0, oom=False, ended_unix_nano=1, at=1.0))
    assert job.disk_bytes and not any(isinstance(c, RemoveDisk) for c in commands)
    job, commands = step(job, Withdrawn(2.0))
    assert commands[:2] == (RemoveRun("b.1.1"), RemoveDisk("acme", "b")) and job.disk_bytes == 0


def test_the_disk_stays_over_generations_but_not_for_another_tenant() -> None:
    job = running(service(), disk_bytes=8 << 20)
    same, commands = walk(job, Replaced(service(generation=2), 1.0), Exited("s.1.1", 0, False, 1, 1.5))
    assert same.disk_bytes == 8 << 20 and not any(isinstance(c, RemoveDisk) for c in commands)
    other, commands = walk(job, Replaced(service(generation=2, tenant="bolt"), 1.0), Exited("s.1.1", 0, False, 1, 1.5))
    assert other.disk_bytes == 0 and RemoveDisk("acme", "s") in commands


@pytest.mark.parametrize("state", [G, B])
def test_who_has_no_run_gives_its_room_back_at_once(state) -> None:
    job = replace(running(service()), state=state, pid=0, due_at=5.0)
    job, commands = step(job, Evicted("preempted", "the store opens", 1.0))
    assert (job.state, job.reason, job.due_at) == (P, "preempted", None)
    assert [type(c) for c in commands] == [Report]


def test_an_evicted_service_waits_for_room_again_and_its_run_does_not_count() -> None:
    job, commands = step(running(service()), Evicted("preempted", "the store opens", 1.0))
    assert job.state is T and commands[0] == Stop("s.1.1", "TERM")
    job, _ = step(job, Exited("s.1.1", 143, oom=False, ended_unix_nano=2, at=2.0))
    assert (job.state, job.reason, job.message, job.starts) == (P, "preempted", "the store opens", ())
    job, _ = step(job, Admitted(9.0))
    assert job.run == "s.1.2"


def test_an_evicted_batch_job_that_must_not_run_twice_has_failed() -> None:
    job, _ = walk(running(batch()), Evicted("budget", "spent", 1.0), Exited("b.1.1", 143, False, 2, 2.0))
    assert (job.state, job.reason) == (X, "budget")


def test_a_job_that_is_being_replaced_gives_up_its_place_when_it_is_evicted() -> None:
    new = service(generation=2)
    job, _ = walk(running(service()), Replaced(new, 1.0), Evicted("preempted", "the store opens", 1.1))
    assert leaving(job) and job.reason == "replaced"
    job, _ = step(job, Exited("s.1.1", 143, oom=False, ended_unix_nano=2, at=2.0))
    assert (job.state, job.spec, job.first, job.evicted) == (P, new, False, False)


def test_withdrawn_wins_over_an_eviction() -> None:
    job, _ = walk(
        running(service()), Evicted("budget", "spent", 1.0), Withdrawn(1.1), Exited("s.1.1", 143, False, 2, 2.0)
    )
    assert (job.state, job.reason, job.gone) == (F, "withdrawn", True)


def test_an_update_that_has_no_room_goes_back_to_what_ran() -> None:
    fresh = Job(service(generation=2, healthy_seconds=30), proven=service(), proven_attempt=4, first=True)
    job, commands = step(fresh, Rejected("store-cpu", "200 too many"))
    assert (job.state, job.spec.generation, job.refused, job.first) == (P, 1, 2, True)
    assert (commands[0].state, commands[0].reason) == (X, "store-cpu")
    job, _ = step(job, Admitted(2.0))
    assert job.run == "s.1.5"


def test_an_update_is_not_given_up_for_what_would_meet_the_generation_before_as_well() -> None:
    job = Job(service(generation=2, healthy_seconds=30), proven=service(), proven_attempt=4)
    after, _ = step(replace(job, first=True), Rejected("budget", "spent"))
    assert (after.state, after.spec.generation, after.refused) == (J, 2, 0)
    waiting, _ = step(job, Rejected("store-cpu", "evicted by the hours of the store, not by this update"))
    assert (waiting.state, waiting.spec.generation, waiting.refused) == (J, 2, 0)
    assert step(waiting, Admitted(9.0))[0].run == "s.2.1"


def test_a_job_that_was_replaced_is_first_in_line_until_it_is_refused() -> None:
    job, _ = walk(running(service()), Replaced(service(generation=2), 1.0), Exited("s.1.1", 0, False, 1, 1.5))
    assert job.first
    assert not step(job, Rejected("store-cpu", "too many"))[0].first
    assert not step(job, Admitted(2.0))[0].first
