"""The whole jobs service around a launcher that the test plays: images, health, money, hours, secrets, warm starts."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.config.schema import JobsConfig
from agent.errors import AwayError, RefusedError
from agent.jobs import checks, loop, prepare
from agent.jobs.metering import seal_text
from agent.model import Event, Health, JobState, UsageSample, UsageSeal
from agent.sandbox import Checked, DiskState, Usage
from agent.spec import (
    Budget,
    Desired,
    Egress,
    HealthCheck,
    Limits,
    Network,
    Prices,
    Priority,
    Quota,
    Reserve,
    Secret,
    StorePolicy,
    Tenant,
    TradingHours,
)
from tests.fakes.jobs import batch, desired, service
from tests.fakes.shop import SECOND, Shop, state, until, view

pytestmark = pytest.mark.integration
DIGEST = "sha256:" + "a" * 64
IMAGE = "registry.example/app@" + DIGEST
GENEROUS = Quota(
    jobs=100, cpu_milli=100_000, memory_bytes=1 << 40, disk_bytes=1 << 40, network_bits_per_second=1 << 40,
    network_bytes_per_month=1 << 40, published_ports=10,
)  # fmt: skip


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(checks, "_FIRST_SECONDS", 0.02)
    return Shop(tmp_path)


def wanted(*specs, tenant=None, store=None):
    return Desired(1, (tenant or Tenant("acme", quota=GENEROUS),), specs, store=store)


def messages(shop, job):
    return [r.message for r in shop.records if isinstance(r, Event) and r.job == job and r.message]


# --- images ------------------------------------------------------------------------------------


async def test_a_job_waits_for_its_image_and_says_how_far_it_is(shop) -> None:
    shop.images.say = "fetching, 3 of 9 MiB"
    async with shop.agent(wanted(batch(image=IMAGE))) as jobs:
        await until(lambda: view(jobs, "b") and view(jobs, "b").message == "fetching, 3 of 9 MiB")
        assert state(jobs, "b") is JobState.PREPARING
        shop.images.has(IMAGE, DIGEST)
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert shop.sandbox.runs["b.1.1"].request.image == DIGEST
        assert jobs.images() == {IMAGE}
    assert shop.states("b") == ["pending", "preparing", "starting", "running"]


async def test_a_withdrawn_job_gives_its_fetch_up(shop) -> None:
    async with shop.agent(wanted(batch(image=IMAGE))) as jobs:
        await until(lambda: shop.images.fetched)
        await jobs.apply(wanted())
        await until(lambda: shop.images.cancelled == [IMAGE] and not jobs.jobs())


async def test_an_image_that_is_refused_fails_its_job(shop) -> None:
    shop.images.answers[IMAGE] = RefusedError("BAD_REQUEST", "other content than pinned")
    async with shop.agent(wanted(batch(image=IMAGE))) as jobs:
        await until(lambda: state(jobs, "b") is JobState.FAILED)
        assert (view(jobs, "b").reason, view(jobs, "b").message) == ("image-refused", "other content than pinned")


async def test_an_image_that_went_between_is_prepared_again(shop) -> None:
    shop.images.has(IMAGE, DIGEST)

    def go_once(op, run):
        if op == "start":
            shop.sandbox.on_call = lambda *_: None
            del shop.sandbox.stored[DIGEST]

    shop.sandbox.on_call = go_once
    async with shop.agent(wanted(service(image=IMAGE))) as jobs:
        await until(lambda: shop.images.fetched.count(IMAGE) > 1)
        shop.images.has(IMAGE, DIGEST)
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
    assert "failed" not in shop.states("s") and "backing-off" not in shop.states("s")


async def test_after_a_crash_a_fetch_is_begun_again(shop) -> None:
    shop.images.answers[IMAGE] = AwayError("no route to registry.example")
    async with shop.agent(wanted(batch(image=IMAGE))) as jobs:
        await until(lambda: "no route" in view(jobs, "b").message)
    shop.images.has(IMAGE, DIGEST)
    async with shop.agent(wanted(batch(image=IMAGE))) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
    assert shop.sandbox.starts() == ["b.1.1"]


# --- health ------------------------------------------------------------------------------------

CHECK = HealthCheck(tcp_port=80, interval_seconds=1, failures=2, start_seconds=0)


async def passing(shop, condition):
    """Time goes on until it is so."""

    def look():
        shop.time.passes(0.1)
        return condition()

    await until(look, seconds=10)


async def test_a_service_that_falls_ill_is_started_anew(shop) -> None:
    async with shop.agent(wanted(service(health=CHECK))) as jobs:
        await passing(shop, lambda: view(jobs, "s").health is Health.HEALTHY)
        shop.sandbox.runs["s.1.1"].checks = [Checked(False, "connection refused")]
        await passing(shop, lambda: "s.1.2" in shop.sandbox.runs)
        await passing(shop, lambda: view(jobs, "s").health is Health.HEALTHY)
    assert any("connection refused" in message for message in messages(shop, "s"))


async def test_a_generation_that_does_not_become_healthy_is_rolled_back(shop, monkeypatch) -> None:
    monkeypatch.setattr(loop, "_BEAT_SECONDS", 0.05)  # it looks at the time that the test makes pass
    good = service(health=CHECK, healthy_seconds=30)
    async with shop.agent(wanted(good)) as jobs:
        await passing(shop, lambda: view(jobs, "s").health is Health.HEALTHY)
        shop.sandbox.checked = Checked(False, "HTTP 500")
        bad = replace(good, generation=2, command=("/bin/false",), health=replace(CHECK, failures=100))
        await jobs.apply(wanted(bad))
        await passing(shop, lambda: "s.2.1" in shop.sandbox.runs)
        shop.sandbox.checked = Checked(True, "")
        shop.sandbox.runs["s.2.1"].checks = [Checked(False, "HTTP 500")]
        await passing(shop, lambda: view(jobs, "s").generation == 1 and state(jobs, "s") is JobState.RUNNING)
        await jobs.apply(wanted(bad))
        await passing(shop, lambda: view(jobs, "s").health is Health.HEALTHY)
        assert view(jobs, "s").generation == 1
    assert "rolled-back" in [r.reason for r in shop.records if isinstance(r, Event)]
    assert list(shop.sandbox.runs) == ["s.1.2"]


# --- money and bytes -----------------------------------------------------------------------------


def paid(credit):
    prices = Prices(cpu_core_hour_micro=3_600_000_000)  # 1,000,000 a second
    return Tenant("acme", quota=GENEROUS, budget=Budget(credit, prices))


async def test_a_spent_budget_ends_its_jobs_offline_and_more_credit_starts_them_again(shop) -> None:
    shop.config = JobsConfig(usage_interval_seconds=0.5)
    async with shop.agent(wanted(service(), tenant=paid(5_000_000))) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        shop.sandbox.runs["s.1.1"].usage = Usage(6 * SECOND, 1, 1, 1, 0)
        await until(lambda: state(jobs, "s") is JobState.REJECTED)
        assert view(jobs, "s").reason == "budget" and "5000000" in view(jobs, "s").message
    async with shop.agent(wanted(service(), tenant=paid(5_000_000))) as jobs:
        assert state(jobs, "s") is JobState.REJECTED, "what was spent is known after a restart"
        await jobs.apply(wanted(service(), tenant=paid(60_000_000)))
        await until(lambda: state(jobs, "s") is JobState.RUNNING)


async def test_a_months_bytes_cut_the_network_and_the_next_month_opens_it(shop) -> None:
    shop.config = JobsConfig(usage_interval_seconds=0.5)
    shop.time.wall = int(datetime(2026, 3, 31, 23, 50, tzinfo=UTC).timestamp()) * SECOND
    online = service(network=Network(egress=(Egress(443, cidr="192.0.2.0/24"),), bytes_per_month=1000))
    async with shop.agent(wanted(online)) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        run = shop.sandbox.runs["s.1.1"]
        run.usage = Usage(1, 1, 1, 1, 0, network_receive_bytes=600, network_transmit_bytes=400)
        await until(lambda: run.reach.cut)
        assert state(jobs, "s") is JobState.RUNNING
    async with shop.agent(wanted(online)) as jobs:
        await until(lambda: ("reach", "s.1.1") in shop.sandbox.calls)
        assert run.reach.cut
        shop.time.passes(3600)
        await jobs.apply(wanted(online))
        await until(lambda: not run.reach.cut)
        shop.time.wall -= 7200 * SECOND  # set back: the month that was used up doesn't begin anew, nor does it end
        await jobs.apply(wanted(online))
        await jobs._loop.settled()


# --- room ----------------------------------------------------------------------------------------

DAY = StorePolicy("UTC", Reserve(0), (TradingHours((), 8 * 60, 20 * 60, Reserve(cpu_milli=7_500)),))


def big(id_, **changes):
    return service(id_, limits=Limits(1_000, 32 << 20), **changes)


async def test_trading_hours_take_from_spot_and_give_back(shop) -> None:
    shop.time.wall = int(datetime(2026, 3, 2, 7, 59, 30, tzinfo=UTC).timestamp()) * SECOND
    spot, kept = big("spot"), service("kept", priority=Priority.GUARANTEED)
    everything = wanted(spot, kept, store=DAY)
    async with shop.agent(everything) as jobs:
        await until(lambda: state(jobs, "spot") is state(jobs, "kept") is JobState.RUNNING)
        shop.time.passes(31)
        jobs._loop.post(lambda book: [])  # any turn will do; the loop's own comes with the minute
        await until(lambda: state(jobs, "spot") is JobState.REJECTED)
        assert state(jobs, "kept") is JobState.RUNNING
        told = [m for m in messages(shop, "spot") if "trading hours" in m]
        assert told and "08:00-20:00" in told[0]
        shop.time.passes(12 * 3600)
        jobs._loop.post(lambda book: [])
        await until(lambda: state(jobs, "spot") is JobState.RUNNING)


async def test_a_clock_that_jumps_is_followed_both_ways(shop) -> None:
    night = int(datetime(2026, 3, 2, 3, 0, tzinfo=UTC).timestamp()) * SECOND
    shop.time.wall = night
    async with shop.agent(wanted(big("spot"), store=DAY)) as jobs:
        await until(lambda: state(jobs, "spot") is JobState.RUNNING)
        shop.time.wall = night + 9 * 3600 * SECOND
        jobs._loop.post(lambda book: [])
        await until(lambda: state(jobs, "spot") is JobState.REJECTED)
        shop.time.wall = night
        jobs._loop.post(lambda book: [])
        await until(lambda: state(jobs, "spot") is JobState.RUNNING)


async def test_the_stores_own_job_takes_the_room_of_a_lower_class(shop) -> None:
    tenants = (Tenant("acme", quota=GENEROUS), Tenant("shop", quota=GENEROUS, store=True))
    spots = [big(f"spot-{n}") for n in range(7)]
    own = service("own", tenant="shop", priority=Priority.STORE, limits=Limits(2_000, 32 << 20))
    async with shop.agent(Desired(1, tenants, tuple(spots))) as jobs:
        await until(lambda: all(state(jobs, spot.id) is JobState.RUNNING for spot in spots))
        await jobs.apply(Desired(2, tenants, (*spots, own)))
        await until(lambda: state(jobs, "own") is JobState.RUNNING)
        waiting = [v for v in jobs.jobs() if v.state is not JobState.RUNNING]
        assert len(waiting) == 1
    assert any("priority" in message for message in messages(shop, waiting[0].id))


# --- secrets, disks, seals -------------------------------------------------------------------------


async def test_secrets_reach_the_launcher_and_nothing_else(shop) -> None:
    async with shop.agent(wanted(service(secrets=(Secret("key", ()),)))) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
    plain, coded = b"acme/s/key", "YWNtZS9zL2tleQ=="
    assert shop.sandbox.runs["s.1.1"].request.secrets == {"key": coded}
    kept = b"".join(path.read_bytes() for path in shop.directory.iterdir() if path.is_file())
    for text in (kept, repr(shop.records).encode()):
        assert plain not in text and coded.encode() not in text


async def test_a_disk_goes_with_its_job_and_one_of_nobody_too(shop) -> None:
    spec = service(limits=Limits(100, 32 << 20, disk_bytes=4 << 20))
    shop.sandbox.kept["acme", "ghost"] = DiskState("acme", "ghost", 4 << 20)
    async with shop.agent(wanted(spec)) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        await until(lambda: set(shop.sandbox.kept) == {("acme", "s")})
        await jobs.apply(wanted())
        await until(lambda: not jobs.jobs() and not shop.sandbox.kept)


async def test_what_was_billed_is_sealed_before_the_agent_ends(shop) -> None:
    async with shop.agent(wanted(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        shop.sandbox.end("b.1.1")
        await until(lambda: state(jobs, "b") is JobState.FINISHED)
    seal = shop.records[-1]
    assert isinstance(seal, UsageSeal) and seal.signature == b"signed " + seal_text(seal.heads)
    newest = [r for r in shop.records if isinstance(r, UsageSample)][-1]
    assert (seal.heads[0].chain_index, seal.heads[0].chain_hash) == (newest.chain_index, newest.chain_hash)


async def test_a_key_that_is_away_keeps_neither_bill_nor_end(shop) -> None:
    shop.signs = False
    async with shop.agent(wanted(batch())) as jobs:
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        shop.sandbox.end("b.1.1")
        await until(lambda: shop.usage() and shop.states("b")[-1] == "finished")
    assert not any(isinstance(record, UsageSeal) for record in shop.records)


# --- sandboxes made ahead --------------------------------------------------------------------------


async def test_the_next_generation_starts_in_the_sandbox_that_was_held_for_it(shop) -> None:
    async with shop.agent(wanted(batch(warm=1))) as jobs:
        await until(lambda: "b.2.1" in shop.sandbox.runs)
        made = shop.sandbox.runs["b.2.1"]
        shop.sandbox.end("b.1.1")
        await until(lambda: state(jobs, "b") is JobState.FINISHED)
        await jobs.apply(wanted(batch(warm=1, generation=2)))
        await until(lambda: state(jobs, "b") is JobState.RUNNING)
        assert shop.sandbox.runs["b.2.1"] is made and made.state.phase == "running"
        await until(lambda: "b.3.1" in shop.sandbox.runs)


async def test_held_sandboxes_outlive_the_agent_and_go_with_their_job(shop) -> None:
    async with shop.agent(wanted(service(warm=2))) as jobs:
        await until(lambda: {"s.1.2", "s.1.3"} <= set(shop.sandbox.runs))
    async with shop.agent(wanted(service(warm=2))) as jobs:
        await until(lambda: jobs._warm._begun)
        assert set(shop.sandbox.runs) == {"s.1.1", "s.1.2", "s.1.3"}
        await jobs.apply(wanted())
        await until(lambda: not shop.sandbox.runs and not jobs.jobs())


async def test_without_its_database_held_sandboxes_are_not_taken_for_runs(shop) -> None:
    async with shop.agent(wanted(service(warm=1))) as jobs:
        await until(lambda: "s.1.2" in shop.sandbox.runs)
    (shop.directory / "jobs.db").unlink()
    async with shop.agent(wanted(service(warm=1))) as jobs:
        await until(lambda: state(jobs, "s") is JobState.RUNNING)
        await until(lambda: jobs._warm._begun)
    assert shop.sandbox.starts() == ["s.1.1"] and shop.sandbox.runs["s.1.2"].state.phase == "held"


async def test_a_cold_boot_without_central_starts_what_was_desired(shop) -> None:
    shop.images.has(IMAGE, DIGEST)
    everything = wanted(service(image=IMAGE), service("t"), batch())
    async with shop.agent(everything) as jobs:
        await until(lambda: all(v.state is JobState.RUNNING for v in jobs.jobs()))
    shop.sandbox.runs.clear()
    shop.time.boot_nano = 20 * SECOND
    async with shop.agent(everything, boot_id="boot-2") as jobs:
        await passing(shop, lambda: state(jobs, "s") is state(jobs, "t") is JobState.RUNNING)
        assert (state(jobs, "b"), view(jobs, "b").reason) == (JobState.LOST, "reboot")


async def test_it_is_at_rest_when_nothing_happens(shop) -> None:
    """No loop that looks after each job: two hundred services cost turns of one loop, and few."""
    specs = [service(f"s{n}") for n in range(200)]
    shop.sandbox.facts = replace(shop.sandbox.facts, cpus=64, max_runs=512)
    everything = desired(*specs, quota=replace(GENEROUS, jobs=200))
    async with shop.agent(everything) as jobs:
        await until(lambda: all(v.state is JobState.RUNNING for v in jobs.jobs()), seconds=30)
        await jobs._actor.settled()
        asked, turns = len(shop.sandbox.calls), 0
        settle = jobs._loop._settle

        def counting(book):
            nonlocal turns
            turns += 1
            return settle(book)

        jobs._loop._settle = counting
        await asyncio.sleep(1.0)
        assert len(shop.sandbox.calls) == asked and turns <= 2
