"""Images: fetched once for all who wait, given up when nobody does, and tried until they are here or refused."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from agent.clock import Clock
from agent.errors import AwayError, RefusedError
from agent.jobs import prepare as module
from agent.jobs.job import Job, Prepared, PrepareFailed, Progress
from agent.jobs.prepare import Preparer
from agent.model import JobState
from tests.fakes.images import FakeImages
from tests.fakes.jobs import batch, running
from tests.fakes.sandbox import FakeSandbox
from tests.fakes.shop import until

DIGEST = "sha256:" + "a" * 64
IMAGE = "registry.example/app@" + DIGEST


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    for name in ("_POLL_SECONDS", "_RETRY_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(module, "_TELL_SECONDS", 0.0)
    return FakeSandbox(tmp_path)


def waiting(id_="b"):
    return Job(batch(id_, image=IMAGE), JobState.PREPARING)


@asynccontextmanager
async def preparing(sandbox):
    told, images = [], FakeImages(sandbox)
    one = Preparer(sandbox, images.fetch, Clock("boot-1"), lambda job_id, event: told.append((job_id, event)))
    task = asyncio.ensure_future(one.run())
    try:
        yield one, images, told
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_many_jobs_of_one_image_fetch_it_once(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        for id_ in ("a", "b", "c"):
            one.follow(id_, waiting(id_))
            one.begin(id_, IMAGE)
        await until(lambda: images.fetched)
        images.has(IMAGE, DIGEST)
        await until(lambda: len(told) == 3)
        assert {job for job, _ in told} == {"a", "b", "c"}
        assert all(isinstance(e, Prepared) and (e.reference, e.image) == (IMAGE, DIGEST) for _, e in told)
        assert images.fetched == [IMAGE]


async def test_it_is_ready_only_once_it_is_unpacked(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        images.has(IMAGE, DIGEST, "unpacking", done_bytes=1 << 20, total_bytes=4 << 20)
        one.begin("b", IMAGE)
        await until(lambda: told)
        assert told == [("b", Progress(IMAGE, "unpacking: 1 of 4 MiB"))]
        images.has(IMAGE, DIGEST)
        await until(lambda: isinstance(told[-1][1], Prepared))


@pytest.mark.parametrize("where", ["fetch", "unpack"])
async def test_what_is_wrong_for_ever_fails(sandbox, where) -> None:
    async with preparing(sandbox) as (one, images, told):
        if where == "fetch":
            images.answers[IMAGE] = RefusedError("BAD_REQUEST", "other content than pinned")
        else:
            images.has(IMAGE, DIGEST, "failed", message="a link out of the image")
        one.begin("b", IMAGE)
        await until(lambda: told)
        assert isinstance(told[0][1], PrepareFailed)
        assert told[0][1].message in ("other content than pinned", "a link out of the image")


async def test_what_may_pass_is_said_and_tried_again(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        images.answers[IMAGE] = AwayError("registry.example: no route to host")
        one.begin("b", IMAGE)
        await until(lambda: len(images.fetched) > 2)
        assert told == [("b", Progress(IMAGE, "registry.example: no route to host"))], "said once"
        images.answers[IMAGE] = DIGEST  # fetched, but the launcher doesn't see it
        await until(lambda: len(told) == 2)
        images.has(IMAGE, DIGEST)
        await until(lambda: isinstance(told[-1][1], Prepared))


async def test_a_fetch_that_nobody_waits_for_any_more_is_given_up(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        for id_ in ("a", "b"):
            one.begin(id_, IMAGE)
        await until(lambda: images.fetched)
        one.follow("a", None)
        await asyncio.sleep(0.02)
        assert images.cancelled == []
        one.follow("b", Job(batch("b", image=IMAGE), JobState.FAILED, reason="stopped"))
        await until(lambda: images.cancelled)
        one.begin("b", IMAGE)
        images.has(IMAGE, DIGEST)
        await until(lambda: told)
        assert [job for job, _ in told] == ["b"]


async def test_asked_for_again_while_it_is_given_up_it_is_fetched_again(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        one.begin("b", IMAGE)
        await until(lambda: images.fetched)
        one.follow("b", None)
        one.begin("b", IMAGE)
        images.has(IMAGE, DIGEST)
        await until(lambda: told)
        assert isinstance(told[0][1], Prepared)


async def test_the_image_of_the_next_generation_is_fetched_while_this_one_runs(sandbox) -> None:
    job = running(batch(), successor=batch(generation=2, image=IMAGE))
    async with preparing(sandbox) as (one, images, told):
        one.begin("b", IMAGE)
        one.follow("b", job)
        await until(lambda: images.fetched)
        images.has(IMAGE, DIGEST)
        await until(lambda: told)
        assert images.cancelled == [] and isinstance(told[0][1], Prepared)


async def test_progress_is_told_now_and_then_and_only_when_there_is_some(sandbox, monkeypatch) -> None:
    monkeypatch.setattr(module, "_TELL_SECONDS", 3600.0)
    async with preparing(sandbox) as (one, images, told):
        images.say = "fetching, 1 of 2 MiB"
        one.begin("b", IMAGE)
        await until(lambda: told)
        images.say = "fetching, 2 of 2 MiB"
        await asyncio.sleep(0.05)
        assert told == [("b", Progress(IMAGE, "fetching, 1 of 2 MiB"))]


async def test_a_fault_of_the_launcher_is_no_fault_of_the_image(sandbox) -> None:
    async with preparing(sandbox) as (one, images, told):
        images.has(IMAGE, DIGEST)
        ask, faults = sandbox.image, [RefusedError("INTERNAL", "the unpacking process ended without a word")] * 2

        async def image(digest):
            if faults:
                raise faults.pop()
            return await ask(digest)

        sandbox.image = image
        one.begin("b", IMAGE)
        await until(lambda: any(isinstance(event, Prepared | PrepareFailed) for _, event in told))
        assert isinstance(told[-1][1], Prepared)
        assert any(isinstance(event, Progress) and "without a word" in event.message for _, event in told)
