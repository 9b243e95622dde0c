"""The life of a job: every pair of state and event, and what holds of every history."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs import job as nouns
from agent.jobs.job import (
    FINAL,
    LIVE,
    Admitted,
    DeadlineReached,
    Evicted,
    Exited,
    GraceOver,
    Healthy,
    HealthyDue,
    HostRebooted,
    ImageGone,
    Job,
    Kill,
    LostRun,
    Prepare,
    Prepared,
    PrepareFailed,
    Progress,
    Rejected,
    RemoveDisk,
    Replaced,
    RetryDue,
    Returned,
    Started,
    StartFailed,
    StartRun,
    Stop,
    StopAsked,
    Unhealthy,
    Waits,
    WatchRun,
    Withdrawn,
)
from agent.jobs.machine import due, resume, step
from agent.model import Event as Report
from agent.model import JobState
from agent.spec import HealthCheck, Limits, RestartMode, RestartPolicy
from tests.fakes.jobs import ALWAYS, NEVER, ON_FAILURE, batch, running, service, walk

P, G, S, R, T, B = (
    JobState.PENDING,
    JobState.PREPARING,
    JobState.STARTING,
    JobState.RUNNING,
    JobState.STOPPING,
    JobState.BACKING_OFF,
)
F, X, L, J = JobState.FINISHED, JobState.FAILED, JobState.LOST, JobState.REJECTED

DIGEST = "sha256:" + "ab" * 32
IMAGE = "shop.example/app@" + DIGEST


def at_rest(spec, state):
    """A job as it stands in `state`, having run once if it can have."""
    job = running(spec, state=state, pid=0)
    if state in (P, J, G):
        return Job(spec, state)
    if state is R:
        return replace(job, pid=7)
    if state is T:
        return replace(job, pid=7, reason="stopped", due_at=10.0)
    if state is B:
        return replace(job, due_at=5.0, reason="exit-code")
    return job


def events(spec):
    run = f"{spec.id}.1.1"
    return {
        "admitted": Admitted(1.0),
        "waits": Waits("waits-for-room", "others were asked to stop"),
        "rejected": Rejected("store-cpu", "too many"),
        "started": Started(run, 7, 1, 1.0),
        "start-failed": StartFailed(run, "no such file", 1.0),
        "image-gone": ImageGone(run, 1.0),
        "exit-0": Exited(run, 0, oom=False, ended_unix_nano=2, at=1.0),
        "exit-3": Exited(run, 3, oom=False, ended_unix_nano=2, at=1.0),
        "lost": LostRun(run, 1.0),
        "healthy": Healthy(run, 1.0),
        "unhealthy": Unhealthy(run, "no answer", 1.0),
        "prepared": Prepared(spec.image, DIGEST, 1.0),
        "image-refused": PrepareFailed(spec.image, "not what its digest says", 1.0),
        "progress": Progress(spec.image, "half of it"),
        "reboot": HostRebooted(1.0),
        "retry": RetryDue(1.0),
        "deadline": DeadlineReached(1.0),
        "grace": GraceOver(1.0),
        "trial-over": HealthyDue(1.0),
        "evicted": Evicted("preempted", "the store opens", 1.0),
        "stop": StopAsked(1.0),
        "withdrawn": Withdrawn(1.0),
        "replaced": Replaced(replace(spec, generation=2), 1.0),
        "returned": Returned(spec),
    }


# Next state by event, in the order of STATES. For a batch job that is never run again.
STATES = (P, G, S, R, T, B, F, X, L, J)
BATCH_NEVER = {
    "admitted": (S, G, S, R, T, B, F, X, L, S),
    "waits": (P, G, S, R, T, B, F, X, L, P),
    "rejected": (J, G, S, R, T, B, F, X, L, J),
    "started": (P, G, R, R, T, B, F, X, L, J),
    "start-failed": (P, G, X, X, X, B, F, X, L, J),
    "image-gone": (P, G, S, R, T, B, F, X, L, J),
    "exit-0": (P, G, F, F, X, B, F, X, L, J),
    "exit-3": (P, G, X, X, X, B, F, X, L, J),
    "lost": (P, G, L, L, X, B, F, X, L, J),
    "healthy": (P, G, S, R, T, B, F, X, L, J),
    "unhealthy": (P, G, S, T, T, B, F, X, L, J),
    "prepared": (P, S, S, R, T, B, F, X, L, J),
    "image-refused": (P, X, S, R, T, B, F, X, L, J),
    "progress": (P, G, S, R, T, B, F, X, L, J),
    "reboot": (P, G, L, L, X, B, F, X, L, J),
    "retry": (P, G, S, R, T, S, F, X, L, J),
    "deadline": (P, G, S, T, T, B, F, X, L, J),
    "grace": (P, G, S, R, T, B, F, X, L, J),
    "trial-over": (P, G, S, R, T, B, F, X, L, J),
    "evicted": (P, P, T, T, T, X, F, X, L, J),
    "stop": (P, X, T, T, T, X, F, X, L, J),
    "withdrawn": (F, F, T, T, T, F, F, X, L, F),
    "replaced": (P, P, T, T, T, P, P, P, P, P),
    "returned": (P, G, S, R, T, B, F, X, L, J),
}
# A service that is always started again: only what differs.
SERVICE_ALWAYS = BATCH_NEVER | {
    "start-failed": (P, G, B, B, B, B, F, X, L, J),
    "exit-0": (P, G, B, B, B, B, F, X, L, J),
    "exit-3": (P, G, B, B, B, B, F, X, L, J),
    "lost": (P, G, B, B, B, B, F, X, L, J),
    "reboot": (P, G, B, B, B, B, F, X, L, J),
    "stop": (P, G, T, T, T, B, F, X, L, J),
    "evicted": (P, P, T, T, T, P, F, X, L, J),
}
# The same service of an image that must be fetched, in an update on trial: generation 1, and 0 was healthy.
SERVICE_ON_TRIAL = SERVICE_ALWAYS | {
    "admitted": (G, G, S, R, T, B, F, X, L, G),
    "start-failed": (P, G, P, P, B, B, F, X, L, J),
    "exit-0": (P, G, P, P, B, B, F, X, L, J),
    "exit-3": (P, G, P, P, B, B, F, X, L, J),
    "lost": (P, G, P, P, B, B, F, X, L, J),
    "image-gone": (P, G, G, R, T, B, F, X, L, J),
    "image-refused": (P, P, S, R, T, B, F, X, L, J),
    "retry": (P, G, S, R, T, G, F, X, L, J),
    "trial-over": (P, P, T, R, T, P, F, X, L, J),
    "replaced": (P, P, S, R, T, P, P, P, P, P),
}


def on_trial(state):
    """Without a check: it proves itself by running for a minute."""
    spec = service(image=IMAGE, healthy_seconds=60)
    return replace(
        at_rest(spec, state), attempt=1, healthy_by=1.0, proven=service(generation=0), proven_attempt=3, image=DIGEST
    )


def test_the_tables_name_every_state_and_every_event() -> None:
    kinds = {type(event) for event in events(batch()).values()}
    assert kinds == {*nouns.Event.__args__}
    assert set(STATES) == set(JobState)
    assert set(BATCH_NEVER) == set(SERVICE_ALWAYS) == set(events(batch()))


@pytest.mark.parametrize(("state", "event"), [*product(STATES, BATCH_NEVER)])
def test_every_event_in_every_state_of_a_batch_job(state, event) -> None:
    after, _ = step(at_rest(batch(), state), events(batch())[event])
    assert after.state is BATCH_NEVER[event][STATES.index(state)]


@pytest.mark.parametrize(("state", "event"), [*product(STATES, SERVICE_ALWAYS)])
def test_every_event_in_every_state_of_a_service(state, event) -> None:
    after, _ = step(at_rest(service(), state), events(service())[event])
    assert after.state is SERVICE_ALWAYS[event][STATES.index(state)]


@pytest.mark.parametrize(("state", "event"), [*product(STATES, BATCH_NEVER)])
def test_every_event_in_every_state_of_an_update_on_trial(state, event) -> None:
    job = on_trial(state)
    new = events(job.spec) | {"replaced": Replaced(replace(job.spec, generation=2, image=f"other@{DIGEST}"), 1.0)}
    after, _ = step(job, new[event])
    assert after.state is SERVICE_ON_TRIAL[event][STATES.index(state)]
    back = after.refused == 1
    assert back == (after.spec.generation == 0 or (after.successor is not None and after.successor.generation == 0))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", ["started", "start-failed", "image-gone", "exit-0", "lost", "healthy", "unhealthy"])
def test_news_of_another_run_changes_nothing(state, event) -> None:
    job = at_rest(service(), state)
    assert step(job, replace(events(service())[event], run="s.1.9")) == (job, ())


def test_a_batch_job_starts_runs_and_finishes() -> None:
    job, commands = walk(
        Job(batch()),
        Admitted(1.0),
        Started("b.1.1", 42, 99, 2.0),
        Exited("b.1.1", 0, oom=False, ended_unix_nano=5, at=3.0),
    )
    assert [type(c) for c in commands] == [StartRun, Report, WatchRun, Report, Report]
    assert [c.state for c in commands if isinstance(c, Report)] == [S, R, F]
    assert (job.reason, job.exit_code, job.pid, job.ended_unix_nano) == ("completed", 0, 0, 5)


def test_a_deadline_asks_then_kills_then_fails() -> None:
    job = Job(batch(deadline_seconds=60, stop_grace_seconds=5))
    job, _ = walk(job, Admitted(1.0), Started("b.1.1", 42, 99, 2.0))
    assert due(job) == (62.0, DeadlineReached)
    job, commands = walk(job, DeadlineReached(62.0))
    assert commands[0] == Stop("b.1.1", "TERM") and due(job) == (67.0, GraceOver)
    job, commands = walk(job, GraceOver(67.0))
    assert commands == [Kill("b.1.1")] and due(job) is None
    job, commands = walk(job, Exited("b.1.1", 137, oom=False, ended_unix_nano=5, at=67.1))
    assert (job.state, job.reason, job.exit_code) == (X, "deadline", 137)


def test_oom_is_the_reason_whatever_the_code() -> None:
    job, _ = walk(running(batch()), Exited("b.1.1", 137, oom=True, ended_unix_nano=5, at=3.0))
    assert (job.state, job.reason, job.exit_code) == (X, "oom", 137)
    assert str(32 << 20) in job.message


def test_backoff_doubles_to_its_cap_and_forgets_what_left_the_window() -> None:
    spec = service(
        restart=RestartPolicy(RestartMode.ALWAYS, window_seconds=100, backoff_seconds=2, backoff_max_seconds=5)
    )
    job, waits, at = Job(spec), [], 0.0
    job, _ = step(job, Admitted(at))
    for _ in range(4):
        job, _ = step(job, Exited(job.run, 1, oom=False, ended_unix_nano=1, at=at))
        waits.append(due(job)[0] - at)
        at = due(job)[0]
        job, _ = step(job, RetryDue(at))
    assert waits == [2, 4, 5, 5]
    at += 500
    job, _ = step(job, Exited(job.run, 1, oom=False, ended_unix_nano=1, at=at))
    assert due(job)[0] - at == 2


def test_a_service_gives_up_after_its_attempts_and_says_so() -> None:
    job = Job(service(restart=ON_FAILURE))
    job, _ = step(job, Admitted(0.0))
    for n in (1, 2):
        job, _ = walk(job, Exited(job.run, 3, oom=False, ended_unix_nano=1, at=n), RetryDue(n + 0.5))
    job, commands = step(job, Exited(job.run, 3, oom=False, ended_unix_nano=1, at=3.0))
    assert (job.state, job.reason, job.attempt) == (X, "exit-code", 3)
    assert job.message == "ended with code 3; gave up after 3 runs in 600 s"
    assert isinstance(commands[-1], Report)


def test_a_batch_job_that_ended_well_is_done_even_if_always_restarted() -> None:
    job, _ = step(running(batch(restart=ALWAYS)), Exited("b.1.1", 0, oom=False, ended_unix_nano=1, at=1.0))
    assert job.state is F


def test_a_retry_removes_the_traces_of_the_run_before_and_counts_on() -> None:
    job = replace(at_rest(batch(restart=ON_FAILURE), B), starts=(0.0,))
    job, commands = step(job, RetryDue(5.0))
    assert commands[0] == StartRun("b.1.2", job.spec, "host", before="b.1.1")
    assert job.attempt == 2 and job.starts == (0.0, 5.0)


def test_a_lost_batch_run_is_final_or_retried_by_policy() -> None:
    assert step(running(batch(restart=NEVER)), LostRun("b.1.1", 1.0))[0].state is L
    assert step(running(batch(restart=ON_FAILURE)), LostRun("b.1.1", 1.0))[0].state is B


def test_a_reboot_makes_runs_lost_and_counts_them_as_made_now() -> None:
    job, _ = step(running(service(), starts=(50_000.0, 50_001.0)), HostRebooted(20.0))
    assert (job.state, job.reason, job.starts) == (B, "reboot", (20.0, 20.0))
    assert due(job)[0] == 22.0


def test_a_start_that_comes_to_light_while_stopping_is_watched() -> None:
    job, _ = walk(Job(batch()), Admitted(1.0), Withdrawn(1.1))
    job, commands = step(job, Started("b.1.1", 9, 5, 1.2))
    assert (job.state, job.pid, commands) == (T, 9, (WatchRun("b.1.1"),))


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        (G, {}, [Prepare]),
        (S, {}, [StartRun]),
        (R, {}, [WatchRun]),
        (R, {"successor": service(generation=2, image="x")}, [WatchRun, Prepare]),
        (T, {}, [WatchRun, Stop]),
        (T, {"killed": True}, [WatchRun, Kill]),
        (B, {}, []),
        (P, {}, []),
        (F, {}, []),
    ],
)
def test_after_a_crash_the_open_orders_are_given_again(state, changes, expected) -> None:
    assert [type(c) for c in resume(replace(at_rest(batch(), state), **changes))] == expected


# --- every history ---

SPECS = st.builds(
    lambda kind, mode, most, deadline, image, health, window: kind(
        limits=Limits(100, 32 << 20, disk_bytes=8 << 20),
        restart=RestartPolicy(mode, max_attempts=most),
        deadline_seconds=deadline,
        image=image,
        health=health,
        healthy_seconds=window,
    ),
    st.sampled_from([batch, service]),
    st.sampled_from(RestartMode),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 30]),
    st.sampled_from(["host", IMAGE]),
    st.sampled_from([None, HealthCheck(tcp_port=80)]),
    st.sampled_from([0, 8]),
)
MOVES = st.lists(st.sampled_from(sorted(BATCH_NEVER)), max_size=60)


def histories(spec, moves):
    """Each step of a history in which run events speak of the newest run, generations grow and time passes."""
    job, newest = Job(spec), spec.generation
    for n, move in enumerate(moves):
        event = events(job.spec)[move]
        event = replace(event, run=job.run) if isinstance(event, nouns.RunEvent) else event
        event = replace(event, at=float(n)) if hasattr(event, "at") else event
        if isinstance(event, nouns.ImageEvent) and job.successor is not None:
            event = replace(event, reference=job.successor.image)
        if isinstance(event, Replaced):
            newest += 1
            image = spec.image if newest % 2 else spec.image.replace("app", "other")
            event = Replaced(replace(spec, generation=newest, image=image), event.at)
        after, commands = step(job, event)
        yield job, event, after, commands
        job = after


@given(SPECS, MOVES)
def test_final_states_absorb_all_but_a_new_life(spec, moves) -> None:
    for before, event, after, _ in histories(spec, moves):
        if before.state in FINAL and not isinstance(event, Replaced | Returned):
            assert after.state is before.state


@given(SPECS, MOVES)
def test_every_arrival_is_reported(spec, moves) -> None:
    for before, _, after, commands in histories(spec, moves):
        if after.state is not before.state:
            told = commands[-1]
            assert isinstance(told, Report) and told.state is after.state and told.generation == after.spec.generation


@given(SPECS, MOVES)
def test_kill_only_after_term_and_no_run_is_started_twice(spec, moves) -> None:
    termed, started = set(), []
    for _, _, _, commands in histories(spec, moves):
        for command in commands:
            match command:
                case Stop(run=run):
                    termed.add(run)
                case Kill(run=run):
                    assert run in termed
                case StartRun(run=run):
                    started.append(run)
    assert len(started) == len(set(started))


@given(SPECS, MOVES)
def test_starts_stay_within_the_allowed_attempts(spec, moves) -> None:
    starts = 0
    for _, event, after, commands in histories(spec, moves):
        if isinstance(event, Replaced | Returned | HostRebooted | Evicted | ImageGone):
            return  # a new life, times carried over, or an attempt that doesn't count
        starts += sum(isinstance(c, StartRun) for c in commands)
        most = after.spec.restart.max_attempts
        assert most == 0 or starts <= most
        assert after.spec.restart.mode is not RestartMode.NEVER or starts <= 1


@given(SPECS, MOVES)
def test_only_a_live_job_has_a_pid_and_a_timer_only_where_it_means_something(spec, moves) -> None:
    for _, _, after, _ in histories(spec, moves):
        assert after.pid == 0 or after.state in LIVE
        if after.due_at is not None:
            assert due(after) is not None


@given(SPECS, MOVES)
def test_a_generation_is_rolled_back_only_to_one_that_was_healthy_and_is_older(spec, moves) -> None:
    healthy = set()
    for before, _, after, _ in histories(spec, moves):
        if after.proven is not None and after.proven != before.proven:
            healthy.add(after.proven.generation)
        if after.refused != before.refused:
            assert after.refused in (before.spec.generation, before.successor and before.successor.generation)
            target = after.successor or after.spec
            assert target.generation in healthy and target.generation < after.refused


@given(SPECS, MOVES)
def test_what_is_started_is_what_was_prepared_and_a_disk_is_removed_only_without_a_run(spec, moves) -> None:
    for _, _, after, commands in histories(spec, moves):
        for command in commands:
            if isinstance(command, StartRun):
                assert command.image == ("host" if command.spec.image == "host" else DIGEST)
                assert command.run == after.run and command.spec == after.spec
            if isinstance(command, RemoveDisk):
                assert after.state not in LIVE
