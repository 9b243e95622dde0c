"""Runs that nobody speaks of: whose they are, or that they are nobody's."""

from agent.jobs.job import Job
from agent.jobs.recover import adopted, strays
from agent.model import JobState
from agent.sandbox import RunState
from tests.fakes.jobs import batch, running


def run(name, tenant="acme", started=1):
    return RunState(name, tenant, "running", 7, None, False, started, 0)


def test_a_stray_is_a_run_that_no_job_speaks_of_newest_first() -> None:
    runs = [run("b.1.1"), run("x.1.1", started=1), run("x.1.2", started=2)]
    assert [s.run for s in strays(runs, {"b": running(batch())})] == ["x.1.2", "x.1.1"]


def test_a_desired_job_without_a_past_takes_its_run_over() -> None:
    assert adopted(run("b.1.3"), [batch()], {}) == Job(batch(), JobState.STARTING, attempt=3, run="b.1.3")
    assert adopted(run("b.1.3"), [batch()], {"b": Job(batch())}) is not None


def test_a_run_of_another_generation_tenant_or_name_is_nobodys() -> None:
    for name in ("b.2.1", "bb.1.1", "b.1.x", "b.1.", "b.11.1", "b"):
        assert adopted(run(name), [batch()], {}) is None
    assert adopted(run("b.1.1", tenant="bolt"), [batch()], {}) is None


def test_a_job_with_a_past_of_its_own_takes_nothing_over() -> None:
    assert adopted(run("b.1.3"), [batch()], {"b": running(batch())}) is None
