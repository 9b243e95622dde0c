"""Runs and disks that nobody speaks of: whose they are, or that they are nobody's."""

from dataclasses import replace

from agent.jobs.job import Job
from agent.jobs.recover import adopted, orphans, strays
from agent.model import JobState
from agent.sandbox import DiskState, RunState
from agent.spec import Limits
from tests.fakes.jobs import batch, running, service


def run(name, tenant="acme", started=1):
    return RunState(name, tenant, "running", 7, None, False, started, 0)


def test_a_stray_is_a_run_that_no_job_speaks_of_newest_first() -> None:
    runs = [run("b.1.1"), run("x.1.1", started=1), run("x.1.2", started=2)]
    assert [s.run for s in strays(runs, {"b": running(batch())})] == ["x.1.2", "x.1.1"]


def test_a_desired_job_without_a_past_takes_its_run_over() -> None:
    found = Job(batch(), JobState.STARTING, attempt=3, run="b.1.3", image="host")
    assert adopted(run("b.1.3"), [batch()], {}) == found
    assert adopted(run("b.1.3"), [batch()], {"b": Job(batch())}) is not None


def test_a_run_of_another_generation_tenant_or_name_is_nobodys() -> None:
    for name in ("b.2.1", "bb.1.1", "b.1.x", "b.1.", "b.11.1", "b"):
        assert adopted(run(name), [batch()], {}) is None
    assert adopted(run("b.1.1", tenant="bolt"), [batch()], {}) is None


def test_a_job_with_a_past_of_its_own_takes_nothing_over() -> None:
    assert adopted(run("b.1.3"), [batch()], {"b": running(batch())}) is None


def test_an_adopted_run_brings_an_image_that_the_launcher_can_read_and_its_disk() -> None:
    spec = batch(image="shop.example/app@sha256:" + "ab" * 32, limits=Limits(100, 32 << 20, disk_bytes=8 << 20))
    job = adopted(run("b.1.3"), [spec], {})
    assert job is not None and (job.image, job.disk_bytes) == ("sha256:" + "ab" * 32, 8 << 20)


def test_a_disk_is_an_orphan_when_no_job_here_or_desired_owns_it() -> None:
    disks = [DiskState("acme", name, 1 << 20) for name in ("here", "wanted", "stopping", "gone", "nobody")]
    disks.append(DiskState("bolt", "here", 1 << 20))
    jobs = {
        "here": replace(running(service("here")), state=JobState.FINISHED),
        "stopping": replace(running(service("stopping")), state=JobState.STOPPING, reason="withdrawn"),
        "gone": replace(running(service("gone")), state=JobState.FINISHED, gone=True),
    }
    found = orphans(disks, [service("wanted")], jobs)
    assert [(disk.tenant, disk.job) for disk in found] == [("acme", "gone"), ("acme", "nobody"), ("bolt", "here")]
