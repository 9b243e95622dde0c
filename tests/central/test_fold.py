from central.fold import jobs
from storeedge.v1.agent_pb2 import Job
from storeedge.v1.record_pb2 import Event, JobState, Record


def event(time: int, state: str, job: str = "j", attempt: int = 1, exit_code: int | None = None) -> Record:
    return Record(
        time_unix_nano=time,
        event=Event(
            kind="job.state",
            tenant="t",
            job=job,
            generation=1,
            attempt=attempt,
            state=JobState.Value(f"JOB_STATE_{state}"),
            exit_code=exit_code,
        ),
    )


def test_the_newest_state_counts_and_keeps_when_the_run_began_and_ended() -> None:
    (job,) = jobs([event(1, "PENDING"), event(2, "STARTING"), event(3, "RUNNING"), event(9, "FINISHED", exit_code=0)])
    assert (job.state, job.started_unix_nano, job.ended_unix_nano) == (JobState.JOB_STATE_FINISHED, 3, 9)
    assert job.HasField("exit_code") and job.exit_code == 0


def test_a_new_attempt_forgets_the_last_ones_end() -> None:
    history = [event(1, "RUNNING"), event(2, "BACKING_OFF", exit_code=1), event(3, "RUNNING", attempt=2)]
    assert jobs(history[:2])[0].ended_unix_nano == 2
    (job,) = jobs(history)
    assert (job.attempt, job.started_unix_nano, job.ended_unix_nano) == (2, 3, 0) and not job.HasField("exit_code")


def test_jobs_come_by_name_and_other_events_are_none_of_theirs() -> None:
    other = Record(event=Event(kind="node.started"))
    assert [job.id for job in jobs([event(1, "PENDING", "b"), other, event(2, "PENDING", "a")])] == ["a", "b"]


def test_only_what_runs_is_healthy() -> None:
    history = [event(1, "RUNNING"), event(2, "FINISHED", exit_code=0)]
    for each in history:
        each.event.attributes["health"] = "healthy"
    assert [jobs(history[:n])[0].health for n in (1, 2)] == [Job.HEALTH_HEALTHY, Job.HEALTH_UNSPECIFIED]
