"""JSON there and back is the identity."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs import rows
from agent.jobs.budget import Spending
from agent.jobs.job import Job
from agent.jobs.metering import Meter, Reading
from agent.model import ChainLink, Event, Health, JobState, UsageSample, UsageSeal
from agent.spec import (
    Egress,
    HealthCheck,
    JobKind,
    JobSpec,
    Limits,
    MqttGrant,
    Network,
    Prices,
    Priority,
    Publish,
    RestartMode,
    RestartPolicy,
    SealedSecret,
    Secret,
)
from tests.fakes.jobs import batch

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.integers(0, 1 << 62)
SEALED = st.builds(SealedSecret, TEXT, st.binary(max_size=8), st.binary(max_size=8))
NETWORKS = st.builds(
    Network,
    st.lists(st.builds(Egress, NUMBER, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    st.lists(st.builds(Publish, NUMBER, NUMBER, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=2)), max_size=2).map(
        tuple
    ),
    st.booleans(),
    NUMBER,
    NUMBER,
)
GRANTS = st.builds(MqttGrant, TEXT, TEXT, TEXT, TEXT, st.lists(TEXT, max_size=2).map(tuple))
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
    priority=st.sampled_from(Priority),
    network=st.none() | NETWORKS,
    health=st.none() | st.builds(HealthCheck, st.lists(TEXT, max_size=2).map(tuple), NUMBER),
    healthy_seconds=NUMBER,
    stop_signal=TEXT,
    warm=NUMBER,
    secrets=st.lists(st.builds(Secret, TEXT, st.lists(SEALED, max_size=2).map(tuple)), max_size=2).map(tuple),
    mqtt=st.lists(GRANTS, max_size=2).map(tuple),
)
JOBS = st.builds(
    Job,
    spec=SPECS,
    state=st.sampled_from(JobState),
    starts=st.lists(st.floats(0, 1e9), max_size=3).map(tuple),
    due_at=st.none() | st.floats(0, 1e9),
    successor=st.none() | SPECS,
    exit_code=st.none() | st.integers(0, 255),
    image=TEXT,
    disk_bytes=NUMBER,
    health=st.sampled_from(Health),
    healthy_by=st.none() | st.floats(0, 1e9),
    proven=st.none() | SPECS,
    proven_attempt=NUMBER,
    refused=NUMBER,
    evicted=st.booleans(),
    first=st.booleans(),
)
EVENTS = st.builds(
    Event, kind=TEXT, job=TEXT, state=st.none() | st.sampled_from(JobState), exit_code=st.none() | NUMBER
)
SAMPLES = st.builds(
    UsageSample, TEXT, TEXT, *[NUMBER] * 7, chain_index=NUMBER, chain_hash=st.binary(min_size=32, max_size=32)
)


SEALS = st.builds(
    UsageSeal,
    st.lists(st.builds(ChainLink, TEXT, NUMBER, st.binary(max_size=32)), max_size=3).map(tuple),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
SPENDINGS = st.builds(
    Spending,
    NUMBER,
    st.integers(0, 1 << 80),
    NUMBER,
    NUMBER,
    st.dictionaries(TEXT, NUMBER, max_size=2),
    st.builds(Prices, NUMBER, NUMBER, NUMBER, NUMBER),
)


@given(JOBS)
def test_jobs(job) -> None:
    assert rows.job_from_json(rows.job_to_json(job)) == job


def test_a_job_of_an_agent_that_knew_no_grants_loads_without_its_topics() -> None:
    job = Job(batch(), JobState.RUNNING, successor=batch(generation=2))
    raw = json.loads(rows.job_to_json(job))
    for spec in (raw["spec"], raw["successor"]):
        del spec["mqtt"]
        spec["mqtt_topics"] = ["devices/+/temperature"]
    assert rows.job_from_json(json.dumps(raw)) == job


@given(EVENTS | SAMPLES | SEALS)
def test_bodies(body) -> None:
    assert rows.body_from_json(rows.body_to_json(body)) == body


READINGS = st.builds(Reading, NUMBER, NUMBER, NUMBER, st.none() | NUMBER, NUMBER, NUMBER, NUMBER, NUMBER)


@given(
    st.builds(Meter, TEXT, TEXT, TEXT, NUMBER, NUMBER, READINGS, NUMBER, st.none() | NUMBER, st.integers(0, 1 << 90))
)
def test_meters(meter) -> None:
    assert rows.meter_from_json(rows.meter_to_json(meter)) == meter


@given(SPENDINGS)
def test_spending(spending) -> None:
    assert rows.spending_from_json(rows.spending_to_json(spending)) == spending


def test_what_the_first_agent_wrote_is_still_read() -> None:
    job = rows.job_from_json(
        '{"spec":{"id":"s","generation":1,"tenant":"acme","kind":"service","image":"host","command":["/bin/x"],'
        '"limits":{"cpu_milli":100,"memory_bytes":33554432,"pids":64,"log_bytes":1048576,"tmp_bytes":16777216},'
        '"restart":{"mode":"always","max_attempts":0,"window_seconds":600,"backoff_seconds":1,'
        '"backoff_max_seconds":60},"env":{},"deadline_seconds":0,"stop_grace_seconds":10},"state":"running",'
        '"reason":"","message":"","attempt":1,"run":"s.1.1","starts":[5.0],"due_at":null,"killed":false,'
        '"successor":null,"gone":false,"pid":7,"exit_code":null,"started_unix_nano":9,"ended_unix_nano":0}'
    )
    assert (job.state, job.spec.priority, job.spec.network, job.proven, job.spec.limits.open_files) == (
        JobState.RUNNING, Priority.SPOT, None, None, 1024,
    )  # fmt: skip
    meter = rows.meter_from_json(
        '{"run":"s.1.1","tenant":"acme","job":"s","generation":1,"attempt":1,"last":{"boottime_nano":1,"wall_nano":2,'
        '"cpu_nano":3,"memory_bytes":null,"memory_peak_bytes":0}}'
    )
    assert meter.last == Reading(1, 2, 3, None) and meter.held == 0
