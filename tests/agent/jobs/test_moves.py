"""Updates that prove themselves or are rolled back, images before runs, and names that are never used twice."""

from dataclasses import replace

import pytest

from agent.jobs.job import (
    Admitted,
    DeadlineReached,
    Exited,
    GraceOver,
    Healthy,
    HealthyDue,
    HostRebooted,
    Job,
    Prepare,
    Prepared,
    PrepareFailed,
    Progress,
    Replaced,
    RetryDue,
    Started,
    StartRun,
    Stop,
    Unhealthy,
)
from agent.jobs.machine import due, step
from agent.jobs.moves import fallback, leaving, report
from agent.model import Event as Report
from agent.model import Health, JobState
from agent.spec import HealthCheck, RestartMode, RestartPolicy
from tests.fakes.jobs import batch, running, service, walk

P, G, S, R, T = JobState.PENDING, JobState.PREPARING, JobState.STARTING, JobState.RUNNING, JobState.STOPPING
B, F, X, J = JobState.BACKING_OFF, JobState.FINISHED, JobState.FAILED, JobState.REJECTED
DIGEST = "sha256:" + "ab" * 32
CHECK = HealthCheck(tcp_port=80)
OLD = service()
CHECKED = service(generation=2, health=CHECK, healthy_seconds=30)
UNCHECKED = service(generation=2, healthy_seconds=30)


def exited(run, code=1, at=1.0):
    return Exited(run, code, oom=False, ended_unix_nano=1, at=at)


def updated(spec, at=100.0):
    """The job in its new generation, running since `at`; the old one was at its third attempt and is proven."""
    job = running(OLD, attempt=3, run="s.1.3", proven=OLD)
    job, _ = walk(job, Replaced(spec, at), exited("s.1.3", 0, at), Admitted(at), Started("s.2.1", 9, 1, at))
    assert (job.state, job.spec) == (R, spec)
    return job


def test_the_image_comes_before_the_run_and_is_asked_for_before_each() -> None:
    spec = service(image="shop.example/app@" + DIGEST)
    job, commands = walk(Job(spec), Admitted(1.0))
    assert (job.state, job.attempt, commands[0]) == (G, 0, Prepare(spec))
    job, commands = step(job, Progress(spec.image, "3 of 9 MiB"))
    assert (job.state, job.message, commands) == (G, "3 of 9 MiB", ())
    job, commands = step(job, Prepared(spec.image, DIGEST, 5.0))
    assert job.state is S and commands[0] == StartRun("s.1.1", spec, DIGEST)
    job, commands = walk(job, Started("s.1.1", 7, 1, 5.0), exited("s.1.1"), RetryDue(9.0))
    assert job.state is G and commands[-2] == Prepare(spec)
    job, commands = step(job, Prepared(spec.image, DIGEST, 9.1))
    assert commands[0] == StartRun("s.1.2", spec, DIGEST, before="s.1.1")


def test_an_image_that_can_never_be_used_ends_the_job() -> None:
    spec = service(image="shop.example/app@" + DIGEST)
    job, commands = walk(Job(spec), Admitted(1.0), PrepareFailed(spec.image, "layer 2 isn't what its digest says", 2.0))
    assert (job.state, job.reason) == (X, "image-refused")
    assert commands[-1].message == "layer 2 isn't what its digest says"


def test_a_service_without_a_check_is_proven_by_starting_or_by_running_its_window() -> None:
    job, _ = walk(Job(OLD), Admitted(1.0), Started("s.1.1", 7, 1, 1.0))
    assert job.proven == OLD and due(job) is None
    spec = service(healthy_seconds=30)
    job, _ = walk(Job(spec), Admitted(1.0), Started("s.1.1", 7, 1, 2.0))
    assert job.proven is None and due(job) == (32.0, HealthyDue)
    job, _ = step(job, HealthyDue(32.0))
    assert job.proven == spec and due(job) is None


def test_a_service_with_a_check_is_proven_by_its_first_success_and_that_is_told() -> None:
    job = updated(CHECKED)
    assert (job.health, due(job)) == (Health.STARTING, (130.0, HealthyDue))
    job, commands = step(job, Healthy("s.2.1", 105.0))
    assert (job.proven, job.health, due(job)) == (CHECKED, Health.HEALTHY, None)
    assert commands[-1].attributes == {"health": "healthy"}


def test_an_update_that_is_not_healthy_in_its_window_is_stopped_and_the_old_one_runs_on_under_a_new_name() -> None:
    job, commands = step(updated(CHECKED), HealthyDue(130.0))
    assert (job.state, job.reason, job.refused) == (T, "rolled-back", 2)
    assert job.message == "not healthy within 30 s; back to generation 1"
    assert commands[0] == Stop("s.2.1", "TERM")
    job, commands = walk(job, exited("s.2.1", 143, 131.0), Admitted(131.0))
    assert (job.state, job.spec, job.run) == (S, OLD, "s.1.4")
    reports = [c for c in commands if isinstance(c, Report)]
    assert [(r.generation, r.state, r.reason) for r in reports] == [(2, X, "rolled-back"), (1, P, ""), (1, S, "")]


def test_restarts_within_the_window_of_a_check_are_allowed_but_do_not_lengthen_it() -> None:
    job, _ = walk(updated(CHECKED), exited("s.2.1", 1, 110.0))
    assert job.state is B and due(job) == (111.0, RetryDue)
    job, _ = walk(job, RetryDue(111.0), Started("s.2.2", 9, 1, 111.0))
    assert due(job) == (130.0, HealthyDue)
    job, _ = walk(job, exited("s.2.2", 1, 129.5))
    assert due(job) == (130.0, HealthyDue)  # before the end of its backoff
    job, _ = step(job, HealthyDue(130.0))
    assert (job.state, job.spec) == (P, OLD)


def test_an_update_without_a_check_is_rolled_back_as_soon_as_it_ends() -> None:
    job, commands = step(updated(UNCHECKED), exited("s.2.1", 3, 110.0))
    assert (job.state, job.spec, job.refused) == (P, OLD, 2)
    assert commands[0].message == "ended within 30 s: ended with code 3; back to generation 1"


def test_a_reboot_is_not_the_fault_of_an_update_and_its_window_begins_again() -> None:
    job, _ = step(updated(UNCHECKED), HostRebooted(4.0))
    assert (job.state, job.spec) == (B, UNCHECKED)
    job, _ = step(updated(CHECKED), HostRebooted(4.0))
    assert job.healthy_by == 34.0


def test_an_update_that_gives_up_by_its_policy_is_rolled_back() -> None:
    spec = replace(CHECKED, restart=RestartPolicy(RestartMode.NEVER))
    job, commands = step(updated(spec), exited("s.2.1", 3, 110.0))
    assert (job.state, job.spec) == (P, OLD)
    assert (commands[0].state, commands[0].message) == (X, "ended with code 3; back to generation 1")


def test_without_an_older_healthy_generation_there_is_nothing_to_go_back_to() -> None:
    job, _ = walk(Job(replace(CHECKED, generation=1)), Admitted(1.0), Started("s.1.1", 7, 1, 1.0))
    assert fallback(job) is None and due(job) is None
    assert step(job, exited("s.1.1"))[0].state is B


def test_what_was_healthy_once_is_not_rolled_back_later() -> None:
    job, _ = walk(updated(CHECKED), Healthy("s.2.1", 105.0), exited("s.2.1", 1, 400.0))
    assert (job.state, job.spec) == (B, CHECKED)


def test_after_two_updates_that_failed_the_old_one_still_has_names_of_its_own() -> None:
    job, _ = walk(updated(UNCHECKED), exited("s.2.1", 3, 110.0), Admitted(110.0), Started("s.1.4", 9, 1, 110.0))
    third = replace(UNCHECKED, generation=3)
    job, _ = walk(job, Replaced(third, 120.0), exited("s.1.4", 0, 121.0), Admitted(121.0), exited("s.3.1", 1, 122.0))
    assert (job.refused, job.spec) == (3, OLD)
    assert step(job, Admitted(123.0))[0].run == "s.1.5"


def test_an_unhealthy_run_is_stopped_and_its_policy_has_the_next_word() -> None:
    job = running(service(health=CHECK), health=Health.HEALTHY)
    job, commands = step(job, Unhealthy("s.1.1", "check failed 3 times in a row", 5.0))
    assert (job.state, job.reason, job.health) == (T, "unhealthy", Health.UNHEALTHY)
    assert commands[0] == Stop("s.1.1", "TERM")
    job, _ = step(job, exited("s.1.1", 143, 6.0))
    assert (job.state, job.reason, job.message) == (B, "unhealthy", "check failed 3 times in a row")


def test_deadline_and_window_run_side_by_side_and_the_earlier_comes_first() -> None:
    job = updated(replace(CHECKED, deadline_seconds=20))
    assert due(job) == (120.0, DeadlineReached)
    job = updated(replace(CHECKED, deadline_seconds=60))
    assert due(job) == (130.0, HealthyDue)
    job, _ = step(job, Healthy("s.2.1", 101.0))
    assert due(job) == (160.0, DeadlineReached)


def test_a_job_that_ignores_its_stop_signal_is_killed_also_on_the_way_back() -> None:
    job, _ = step(updated(CHECKED), HealthyDue(130.0))
    assert due(job) == (140.0, GraceOver)


@pytest.mark.parametrize(
    ("job", "goes"),
    [
        (running(service(), state=T, reason="withdrawn"), True),
        (running(service(), state=T, reason="preempted", evicted=True), True),
        (running(batch(), state=T, reason="stopped"), True),
        (running(service(), state=T, reason="stopped"), False),
        (running(service(), state=T, reason="unhealthy"), False),
        (running(service(), state=T, reason="replaced", successor=CHECKED), False),
        (running(service()), False),
    ],
)
def test_who_will_not_take_its_room_again(job, goes) -> None:
    assert leaving(job) is goes


def test_a_report_carries_health_only_where_there_is_some() -> None:
    assert report(running(service())).attributes == {}
    assert report(running(service(), health=Health.STARTING)).attributes == {"health": "starting"}
