"""Runs with grants: the whole set is told, at each change, from their start to their end and across restarts."""

import pytest

from agent.jobs.grants import Broker, Grants
from agent.jobs.job import Job
from agent.model import JobState
from agent.spec import MqttGrant, MqttView, Tenant
from tests.fakes.jobs import batch, running, service

READS = (MqttGrant(zone="shelf", channel="#"),)


class Told(list):
    async def secrets(self, run, spec):
        return {"mqtt_username": run.encode()}

    def broker(self):
        return Broker(self.append, self.secrets)


def runs(views):
    return sorted(view.run for view in views)


def test_all_that_is_in_the_book_is_told_at_once_and_not_one_by_one() -> None:
    told = Told()
    grants = Grants(told.broker())
    jobs = {one: running(batch(one, mqtt=READS)) for one in ("a", "b", "c")}
    grants.follow("a", jobs["a"])  # too early: b and c would lose what they have
    assert told == []
    grants.begin(jobs)
    for job_id, job in jobs.items():
        grants.follow(job_id, job)
    assert [runs(views) for views in told] == [["a.1.1", "b.1.1", "c.1.1"]]


def test_a_book_without_any_is_told_too() -> None:
    told = Told()
    Grants(told.broker()).begin({"b": running(batch())})
    assert told == [frozenset()]


@pytest.mark.parametrize("state", list(JobState))
def test_a_run_has_its_grants_from_its_start_to_its_end(state) -> None:
    told = Told()
    grants = Grants(told.broker())
    grants.begin({})
    grants.follow("b", Job(batch(mqtt=READS), state, run="b.1.1"))
    live = state in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)
    assert runs(told[-1]) == (["b.1.1"] if live else [])


def test_the_end_takes_them_away_however_it_came() -> None:
    told = Told()
    grants = Grants(told.broker())
    job = running(service(mqtt=READS))
    grants.begin({"s": job})
    grants.follow("s", None)
    assert told[-1] == frozenset()


def test_who_is_the_store_itself_is_told_when_it_changes_and_nothing_twice() -> None:
    told = Told()
    grants = Grants(told.broker())
    grants.know([Tenant("acme", store=True)])
    grants.begin({"b": running(batch(mqtt=READS))})
    grants.know([Tenant("acme", store=True), Tenant("bolt")])
    grants.know([Tenant("acme")])
    assert told == [
        frozenset({MqttView("b.1.1", "acme", "b", READS, store=True)}),
        frozenset({MqttView("b.1.1", "acme", "b", READS)}),
    ]


async def test_only_a_job_with_grants_logs_in() -> None:
    told = Told()
    grants = Grants(told.broker())
    assert await grants.secrets("b.1.1", batch(mqtt=READS)) == {"mqtt_username": b"b.1.1"}
    assert await grants.secrets("b.1.1", batch()) == {}


async def test_where_there_is_no_broker_nobody_is_told() -> None:
    grants = Grants(None)
    grants.begin({"b": running(batch(mqtt=READS))})
    grants.follow("b", None)
    assert await grants.secrets("b.1.1", batch(mqtt=READS)) == {}
