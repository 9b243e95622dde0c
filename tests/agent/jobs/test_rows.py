"""JSON there and back is the identity."""

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs import rows
from agent.jobs.job import Job
from agent.jobs.metering import Meter, Reading
from agent.model import Event, JobState, UsageSample
from agent.spec import JobKind, JobSpec, Limits, RestartMode, RestartPolicy

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.integers(0, 1 << 62)
SPECS = st.builds(
    JobSpec,
    id=TEXT,
    generation=NUMBER,
    tenant=TEXT,
    kind=st.sampled_from(JobKind),
    image=TEXT,
    command=st.lists(TEXT, max_size=3).map(tuple),
    limits=st.builds(Limits, NUMBER, NUMBER),
    restart=st.builds(RestartPolicy, st.sampled_from(RestartMode), NUMBER),
    env=st.dictionaries(TEXT, TEXT, max_size=2),
)
JOBS = st.builds(
    Job,
    spec=SPECS,
    state=st.sampled_from(JobState),
    starts=st.lists(st.floats(0, 1e9), max_size=3).map(tuple),
    due_at=st.none() | st.floats(0, 1e9),
    successor=st.none() | SPECS,
    exit_code=st.none() | st.integers(0, 255),
)
EVENTS = st.builds(
    Event, kind=TEXT, job=TEXT, state=st.none() | st.sampled_from(JobState), exit_code=st.none() | NUMBER
)
SAMPLES = st.builds(
    UsageSample, TEXT, TEXT, *[NUMBER] * 7, chain_index=NUMBER, chain_hash=st.binary(min_size=32, max_size=32)
)


@given(JOBS)
def test_jobs(job) -> None:
    assert rows.job_from_json(rows.job_to_json(job)) == job


@given(EVENTS | SAMPLES)
def test_bodies(body) -> None:
    assert rows.body_from_json(rows.body_to_json(body)) == body


@given(
    st.builds(Meter, TEXT, TEXT, TEXT, NUMBER, NUMBER, st.builds(Reading, NUMBER, NUMBER, NUMBER, st.none() | NUMBER))
)
def test_meters(meter) -> None:
    assert rows.meter_from_json(rows.meter_to_json(meter)) == meter
