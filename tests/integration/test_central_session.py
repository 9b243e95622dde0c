"""Sessions with a real central: lanes, acknowledgements, resumption, calls."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from storeedge.v1 import control_pb2 as wire
from storeedge.v1.agent_pb2 import LogLine, StreamLogsResponse
from storeedge.v1.operator_pb2 import CallNodeRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.record_pb2 import Gap, Record
from storeedge.v1.types_pb2 import LANE_BULK, LANE_CONTROL, RECORD_CLASS_AUDIT, RECORD_CLASS_DEVICE, NodeRef
from tests.integration.central_parts import BOOT, DOMAIN, Box, Central, ack, central, ended, hello, messages, open_lane

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with central(tmp_path_factory.mktemp("central")) as found:
        yield found


@asynccontextmanager
async def node(town: Central, name: str) -> AsyncIterator[Any]:
    """Control's stub with the certificate of a freshly enrolled node."""
    box = Box(town, name)
    await box.enrol(town.token(node=name))
    async with box.control() as stub:
        yield stub


def held(town: Central, name: str) -> list[str]:
    return [m["payload"] for m in town.ask("messages", f"s1/{name}")["messages"]]


async def test_batches_are_stored_once_and_acknowledged_up_to_the_last(town: Central) -> None:
    async with node(town, "dedupe") as stub:
        call, welcome = await open_lane(stub, LANE_BULK)
        assert list(welcome.stored) == []
        await call.write(messages(1, 3))
        assert await ack(call) == 3
        await call.write(messages(2, 4, text="again"))
        assert await ack(call) == 5
        await call.write(messages(1, 2))
        assert await ack(call) == 5
        await call.done_writing()
        assert await ended(call) == (grpc.StatusCode.OK, "")
    assert held(town, "dedupe") == ["m1", "m2", "m3", "again4", "again5"]


async def test_a_node_resumes_behind_what_central_holds_of_its_spool(town: Central) -> None:
    async with node(town, "resume") as stub:
        call, _ = await open_lane(stub, LANE_BULK)
        await call.write(messages(1, 7))
        await ack(call)
        call.cancel()
        again, welcome = await open_lane(stub, LANE_BULK)
        assert [(p.record_class, p.seq) for p in welcome.stored] == [(RECORD_CLASS_DEVICE, 7)]
        again.cancel()
        other, welcome = await open_lane(stub, LANE_BULK, epoch="epoch-2")
        assert list(welcome.stored) == []
        await other.write(messages(1, 1, text="new"))
        assert await ack(other) == 1
        other.cancel()
    assert held(town, "resume")[-1] == "new1" and len(held(town, "resume")) == 8


async def test_a_gap_counts_for_its_whole_range_and_a_hole_ends_the_session(town: Central) -> None:
    gap = Gap(record_class=RECORD_CLASS_DEVICE, first_seq=3, last_seq=9, count=7, reason="spool full")
    batch = messages(10, 2)
    batch.batch.first_seq = 9
    batch.batch.records.insert(0, Record(boot_id=BOOT, gap=gap))
    async with node(town, "gap") as stub:
        call, _ = await open_lane(stub, LANE_BULK)
        await call.write(messages(1, 2))
        assert await ack(call) == 2
        await call.write(batch)
        assert await ack(call) == 11
        await call.write(messages(13, 1))
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "SEQUENCE_HOLE")
    document = town.ask("messages", "s1/gap")
    assert [m["seq"] for m in document["messages"]] == [1, 2, 10, 11]
    assert [(g["first_seq"], g["last_seq"], g["count"]) for g in document["gaps"]] == [(3, 9, 7)]


async def test_what_was_acknowledged_survives_kill_nine_of_central(town: Central) -> None:
    async with node(town, "crash") as stub:
        call, _ = await open_lane(stub, LANE_BULK)
        for first in range(1, 200, 10):
            await call.write(messages(first, 10))
            await ack(call)
        control, enrol = town.control, town.enrol
        town.stop(9)
        town.start(control, enrol)
    assert len(held(town, "crash")) == 200


async def test_the_newest_session_of_a_lane_wins_and_the_other_lane_is_left_alone(town: Central) -> None:
    async with node(town, "newest") as stub:
        bulk, _ = await open_lane(stub, LANE_BULK)
        old, _ = await open_lane(stub, LANE_CONTROL)
        new, _ = await open_lane(stub, LANE_CONTROL)
        assert await ended(old) == (grpc.StatusCode.ABORTED, "SUPERSEDED")
        await bulk.write(messages(1, 1))
        assert await ack(bulk) == 1
        assert next(n for n in town.ask("nodes")["nodes"] if n["ref"]["node"] == "newest")["connected"]
        new.cancel()


@pytest.mark.parametrize(
    ("lane", "frame", "said"),
    [
        (LANE_BULK, wire.AgentFrame(heartbeat=wire.Heartbeat()), "heartbeat has no place"),
        (LANE_CONTROL, messages(1, 1), "batch has no place"),
        (LANE_CONTROL, hello(LANE_CONTROL), "hello has no place"),
        (LANE_BULK, wire.AgentFrame(), "nothing has no place"),
        (LANE_BULK, messages(0, 1), "batch.first_seq: 1.."),
        (LANE_BULK, messages(1, 1001), "batch.records: 1..1000 members, not 1001"),
        (LANE_BULK, messages(1, 1, "x" * 140_000), "device.payload: 0..131072 bytes, not 140001"),
        (LANE_BULK, messages(1, 3, "x" * 100_000), "frame: at most 262144 bytes"),
        (LANE_BULK, wire.AgentFrame(batch=wire.Batch(record_class=RECORD_CLASS_AUDIT, first_seq=1)), "batch.records"),
    ],
)
async def test_a_frame_out_of_bounds_ends_the_session_with_a_clear_word(
    town: Central, lane: Any, frame: wire.AgentFrame, said: str
) -> None:
    async with node(town, "bounds") as stub:
        call, _ = await open_lane(stub, lane)
        await call.write(frame)
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
        assert said in await call.details()


async def test_the_first_frame_must_be_hello(town: Central) -> None:
    async with node(town, "first") as stub:
        call = stub.Session()
        await call.write(messages(1, 1))
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")


async def test_a_node_without_heartbeats_is_away_after_three(tmp_path: Path) -> None:
    with central(tmp_path, "--heartbeat", "1") as place:
        async with node(place, "silent") as stub:
            began = asyncio.get_running_loop().time()
            call, welcome = await open_lane(stub, LANE_CONTROL)
            assert welcome.heartbeat_seconds == 1
            assert await ended(call) == (grpc.StatusCode.UNAVAILABLE, "HEARTBEAT_LOST")
            assert 2.9 < asyncio.get_running_loop().time() - began < 6


APPLY = """
[[tenant]]
id = "citycloud"
quota = { jobs = 1, cpu_milli = 100, memory = "64MiB" }
"""


async def test_desired_state_is_sent_when_the_node_is_behind_and_at_once_when_it_changes(town: Central) -> None:
    file = town.directory / "apply.toml"
    async with node(town, "desired") as stub:
        file.write_text(APPLY)
        assert town.ask("apply", str(file), "--node", "s1/desired")["applied"][0]["revision"] == 1
        call, _ = await open_lane(stub, LANE_CONTROL)
        frame = await call.read()
        assert frame.desired.revision == 1 and frame.desired.tenants[0].id == "citycloud"
        again = town.ask("apply", str(file), "--node", "s1/desired")["applied"][0]
        assert again["revision"] == 1 and again["changed"] is False
        file.write_text(APPLY.replace("jobs = 1", "jobs = 2"))
        await asyncio.to_thread(town.edgectl, "apply", str(file), "--node", "s1/desired")
        frame = await call.read()
        assert frame.desired.revision == 2 and frame.desired.tenants[0].quota.jobs == 2
        call.cancel()
        current, _ = await open_lane(stub, LANE_CONTROL, revision=2)
        await current.write(wire.AgentFrame(heartbeat=wire.Heartbeat(desired_revision=2, spool_records=5)))
        await asyncio.to_thread(town.edgectl, "nodes")
        known = next(n for n in town.ask("nodes")["nodes"] if n["ref"]["node"] == "desired")
        assert (known["applied_revision"], known["spool_records"]) == (2, 5)
        current.cancel()


def edgectl(town: Central, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "central.cli", "--dir", str(town.directory), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reply(number: int, lines: int = 0, end: Status | None = None) -> wire.AgentFrame:
    if end is not None:
        return wire.AgentFrame(call_reply=wire.CallReply(id=number, end=end))
    payload = StreamLogsResponse(lines=[LogLine(text=f"line {lines}".encode())]).SerializeToString()
    return wire.AgentFrame(call_reply=wire.CallReply(id=number, payload=payload))


async def test_a_call_reaches_the_node_and_its_stream_is_paid_by_credit(town: Central) -> None:
    async with node(town, "calls") as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        running = edgectl(town, "logs", "s1/calls", "job-1", "--tail", "100")
        asked = (await call.read()).call
        assert (asked.method, asked.principal) == ("StreamLogs", "spiffe://shop.example/operator/admin")
        assert 1 <= asked.credit <= 1024 and 1 <= asked.deadline_milli <= 86_400_000
        credit, sent = asked.credit, 0
        while sent < 100:
            while credit == 0:
                frame = await call.read()
                assert frame.call_credit.id == asked.id
                credit += frame.call_credit.credit
            await call.write(reply(asked.id, sent))
            sent, credit = sent + 1, credit - 1
        await call.write(reply(asked.id, end=Status()))
        out, err = await asyncio.to_thread(running.communicate, timeout=20)
        assert running.returncode == 0, err
        assert out.splitlines() == [f"line {i}" for i in range(100)]
        call.cancel()
    assert [e["outcome"] for e in town.audit("call.StreamLogs")] == ["ok"]


async def test_a_refusal_of_the_node_reaches_the_operator_as_it_is(town: Central) -> None:
    async with node(town, "refuses") as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        running = edgectl(town, "job", "stop", "s1/refuses", "ghost")
        asked = (await call.read()).call
        await call.write(reply(asked.id, end=Status(code=5, message="no job ghost")))
        out, err = await asyncio.to_thread(running.communicate, timeout=20)
        assert (running.returncode, out, err) == (1, "", "edgectl: no job ghost (NOT_FOUND)\n")
        call.cancel()


async def test_an_operator_who_leaves_cancels_the_call_on_the_node(town: Central) -> None:
    async with node(town, "cancel") as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        running = edgectl(town, "logs", "s1/cancel", "job-1", "-f")
        asked = (await call.read()).call
        await call.write(reply(asked.id, 1))
        assert running.stdout is not None
        assert await asyncio.to_thread(running.stdout.readline) == "line 1\n"
        running.terminate()
        frame = await call.read()
        assert frame.call_cancel.id == asked.id
        await asyncio.to_thread(running.communicate)
        call.cancel()
    assert town.audit("call.StreamLogs")[-1]["outcome"] == "CANCELLED"


async def test_a_follower_who_reads_nothing_and_leaves_is_written_down_all_the_same(town: Central) -> None:
    operator = town.directory / "operator"
    credentials = grpc.ssl_channel_credentials(
        *((operator / name).read_bytes() for name in ("root.crt", "operator.key", "operator.crt"))
    )
    options = [("grpc.ssl_target_name_override", f"central.{DOMAIN}")]
    async with node(town, "deaf") as stub, grpc.aio.secure_channel(town.control, credentials, options) as channel:
        call, _ = await open_lane(stub, LANE_CONTROL)
        before = len(town.audit("call.StreamLogs"))
        ref = NodeRef(store="s1", node="deaf")
        follower = OperatorStub(channel).CallNode(CallNodeRequest(node=ref, method="StreamLogs", deadline_milli=60_000))
        asked = (await call.read()).call
        payload = wire.AgentFrame(call_reply=wire.CallReply(id=asked.id, payload=b"x" * 190_000))
        credit, paid = asked.credit, asyncio.ensure_future(call.read())
        while credit:  # until central pays no more: it waits for the follower, not for the node
            for _ in range(credit):
                await call.write(payload)
            done, _ = await asyncio.wait([paid], timeout=1.0)
            credit = paid.result().call_credit.credit if done else 0
            paid = asyncio.ensure_future(call.read()) if done else paid
        follower.cancel()
        frame = await paid
        while frame.WhichOneof("frame") != "call_cancel":
            frame = await call.read()
        entries = await asyncio.to_thread(town.audit, "call.StreamLogs")
        assert [e["outcome"] for e in entries[before:]] == ["CANCELLED"]
        call.cancel()


async def test_bytes_that_are_no_frame_are_a_bad_request(town: Central) -> None:
    box = Box(town, "noise")
    await box.enrol(town.token(node="noise"))
    credentials = grpc.ssl_channel_credentials(box.root_pem, box.key_pem(), box.chain_pem)
    async with grpc.aio.secure_channel(town.control, credentials, box.options()) as channel:
        for first in ([], [hello(LANE_BULK).SerializeToString()]):
            call = channel.stream_stream("/storeedge.v1.Control/Session")()
            for frame in [*first, b"\xff\xff\xff"]:
                await call.write(frame)
            assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")


async def test_a_call_ends_with_the_session_and_a_node_that_is_away_is_said_to_be(town: Central) -> None:
    async with node(town, "away") as stub:
        call, _ = await open_lane(stub, LANE_CONTROL)
        running = edgectl(town, "logs", "s1/away", "job-1", "-f")
        await call.read()
        call.cancel()
        _, err = await asyncio.to_thread(running.communicate, timeout=20)
        assert running.returncode == 1 and "(NODE_AWAY)" in err
        assert "(NODE_AWAY)" in town.edgectl("logs", "s1/away", "job-1", code=1).stderr


async def test_sigterm_drains_sessions_and_ends_within_five_seconds(tmp_path: Any) -> None:
    with central(tmp_path) as place:
        async with node(place, "drain") as stub:
            call, _ = await open_lane(stub, LANE_CONTROL)
            stopping = asyncio.ensure_future(asyncio.to_thread(place.stop))
            frame = await call.read()
            assert frame.WhichOneof("frame") == "drain"
            assert await ended(call) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
            assert await stopping == 0
