"""AgentService behind any door: roles, refusals, audit."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from agent.api.methods import METHODS, NodeFacts, Sources
from agent.api.service import AgentApi
from agent.clock import Clock
from agent.errors import AwayError, RefusedError, StorageError
from agent.model import (
    AuditEntry,
    Body,
    DeviceView,
    Health,
    ImageView,
    JobState,
    JobView,
    LogLine,
    RecordClass,
    SpoolClassView,
    SpoolView,
)
from agent.orders import (
    CommandAnswer,
    CommandOrder,
    CommandState,
    CommandView,
    DeviceIdentity,
    DeviceOrder,
    DevicePage,
    DeviceQuery,
    IssuedDevices,
)
from storeedge.v1 import agent_pb2, record_pb2

OPERATOR = "spiffe://td/operator/ada"


class Store:
    """The services behind the API, as simple as can be."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.audit: list[AuditEntry] = []
        self.stopped: list[str] = []
        self.asked: list[DeviceQuery] = []
        self.orders: list[DeviceOrder] = []
        self.revoked: list[tuple[str, bool]] = []
        self.cancelled: list[tuple[str, str]] = []
        self.job_views = (JobView("cache", 1, "acme", JobState.BACKING_OFF, "exit", 2, 0, 0, 5, 6),)
        self.device_views = (DeviceView("fridge", True, 1, 2, 3, 4, "devices/fridge/t"),)

    async def record(self, bodies: Sequence[Body]) -> None:
        if self.full:
            raise StorageError("spool is full")
        self.audit += [b for b in bodies if isinstance(b, AuditEntry)]

    async def stop_job(self, job: str) -> None:
        if job != "cache":
            raise RefusedError("NOT_FOUND", f"no job {job}")
        self.stopped.append(job)

    async def logs(self, job: str, tail_bytes: int, follow: bool) -> AsyncIterator[list[LogLine]]:
        if job == "bug":
            raise ZeroDivisionError
        yield [LogLine(1, False, b"a" * 40_000), LogLine(2, True, b"b" * 40_000), LogLine(3, False, b"c")]

    async def images(self) -> tuple[ImageView, ...]:
        return (ImageView("sha256:ab", "unpacking", "half", 5, 10, 20, 30),)

    async def put_image(self, name: bytes, total_bytes: int, offset: int, data: bytes) -> tuple[int, str]:
        if offset > total_bytes:
            raise RefusedError("CONFLICT", "beyond")
        return offset + len(data), "sha256:ab" if offset == total_bytes else ""

    def devices(self, asked: DeviceQuery) -> DevicePage:
        self.asked.append(asked)
        return DevicePage(self.device_views, False, len(self.device_views), 1)

    async def put_devices(self, orders: Sequence[DeviceOrder], check: bool) -> IssuedDevices:
        self.orders += [] if check else orders
        found = () if check else tuple(DeviceIdentity(order.device, password="geheim") for order in orders)
        return IssuedDevices(found, b"" if check else b"ca", not check)

    async def revoke_device(self, device: str, forget: bool) -> bool:
        self.revoked.append((device, forget))
        return False

    async def send_command(self, order: CommandOrder) -> CommandAnswer:
        if order.device != "fridge":
            raise AwayError(f"{order.device} is away")
        return CommandAnswer("c1", CommandState.QUEUED, order.actor.encode(), 5)

    def commands(self) -> tuple[CommandView, ...]:
        view = CommandView("c1", "fridge", "defrost", OPERATOR, CommandState.SENT, 1, 2, 3, b"ok")
        return (replace(view, id="c2", device="door"), view)

    async def cancel_command(self, command: str, caller: str) -> None:
        self.cancelled.append((command, caller))

    def api(self) -> AgentApi:
        facts = NodeFacts("spiffe://td/store/s/node/n", "1", 7, 60, 3, True, 9, {"runtime": "crun"}, ("hot",))
        sources = Sources(
            clock=Clock("boot", lambda: 11, lambda: 12),
            node=lambda: facts,
            jobs=lambda: self.job_views,
            stop_job=self.stop_job,
            logs=self.logs,
            devices=self.devices,
            put_devices=self.put_devices,
            revoke_device=self.revoke_device,
            send_command=self.send_command,
            commands=self.commands,
            cancel_command=self.cancel_command,
            images=self.images,
            put_image=self.put_image,
            spool=lambda: SpoolView("e", 1, 2, (SpoolClassView(RecordClass.AUDIT, 5, 3, 1, 0),)),
        )
        return AgentApi(sources, trust_domain="td", record=self.record)

    async def call(self, method: str, payload: bytes = b"", principal: str = OPERATOR) -> list[bytes]:
        return [reply async for reply in self.api().answer(method, payload, principal)]


async def test_a_view_arrives_with_every_field() -> None:
    (reply,) = await Store().call("ListJobs")
    job = agent_pb2.ListJobsResponse.FromString(reply).jobs[0]
    assert (job.id, job.tenant, job.attempt, job.exit_code, job.HasField("exit_code")) == ("cache", "acme", 2, 0, True)
    assert job.state == record_pb2.JOB_STATE_BACKING_OFF


async def test_what_people_want_to_know_of_a_job_arrives_too() -> None:
    store = Store()
    told = replace(store.job_views[0], message="gave up", health=Health.UNHEALTHY, image="sha256:ab")
    store.job_views = (told, replace(store.job_views[0], message="raw \udc80 name"))
    (reply,) = await store.call("ListJobs")
    first, second = agent_pb2.ListJobsResponse.FromString(reply).jobs
    assert (first.message, first.health, first.image) == ("gave up", agent_pb2.Job.HEALTH_UNHEALTHY, "sha256:ab")
    assert (second.message, second.health, second.image) == ("raw ? name", agent_pb2.Job.HEALTH_UNSPECIFIED, "host")


async def test_every_job_fits_one_reply_if_need_be_without_the_words() -> None:
    store = Store()
    long = replace(store.job_views[0], message="x" * 2000, image="i" * 500)
    store.job_views = tuple(replace(long, id=f"job-{number:043}") for number in range(512))
    (reply,) = await store.call("ListJobs")
    jobs = agent_pb2.ListJobsResponse.FromString(reply).jobs
    assert len(jobs) == 512 and len(reply) <= 180 * 1024
    assert (len(jobs[0].message), jobs[-1].message, jobs[-1].image) == (1024, "", "")


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(
    "principal",
    ["spiffe://td/store/s/node/n", "spiffe://other/operator/ada", "spiffe://td/operator/a/b", "unidentified peer", ""],
)
async def test_who_is_neither_central_nor_operator_nor_here_is_refused_and_audited(method: str, principal: str) -> None:
    store = Store()
    with pytest.raises(RefusedError) as refusal:
        await store.call(method, principal=principal)
    assert refusal.value.reason == "PERMISSION_DENIED"
    assert [(e.actor, e.action, e.outcome) for e in store.audit] == [(principal, f"call.{method}", "PERMISSION_DENIED")]


@pytest.mark.parametrize("principal", [OPERATOR, "spiffe://td/central", "local:socket"])
async def test_central_operators_and_people_on_site_may_call_and_are_audited(principal: str) -> None:
    store = Store()
    await store.call("StopJob", agent_pb2.StopJobRequest(job="cache").SerializeToString(), principal)
    assert store.stopped == ["cache"]
    assert [(e.actor, e.action, e.target, e.outcome) for e in store.audit] == [
        (principal, "call.StopJob", "cache", "asked"),
        (principal, "call.StopJob", "cache", "ok"),
    ]


async def test_a_refusal_of_a_service_is_the_callers_answer_and_in_the_audit_trail() -> None:
    store = Store()
    with pytest.raises(RefusedError, match="no job x"):
        await store.call("StopJob", agent_pb2.StopJobRequest(job="x").SerializeToString())
    with pytest.raises(AwayError):
        await store.call("SendDeviceCommand", agent_pb2.SendDeviceCommandRequest(device="d").SerializeToString())
    assert [(e.target, e.outcome) for e in store.audit] == [
        ("x", "asked"), ("x", "NOT_FOUND"), ("d/", "asked"), ("d/", "AWAY")
    ]  # fmt: skip


async def test_an_unknown_method_and_a_payload_that_is_no_request_are_refused_in_words() -> None:
    with pytest.raises(RefusedError, match="ListJobs"):
        await Store().call("FormatDisk")
    with pytest.raises(RefusedError, match="StopJobRequest"):
        await Store().call("StopJob", b"\xff\xff")


async def test_a_long_log_is_cut_into_replies_that_fit_a_frame() -> None:
    replies = [agent_pb2.StreamLogsResponse.FromString(r) for r in await Store().call("StreamLogs")]
    assert [[line.time_unix_nano for line in reply.lines] for reply in replies] == [[1, 2], [3]]
    assert replies[0].lines[1].stderr


async def test_what_acts_is_not_done_when_it_cannot_be_written_down() -> None:
    store = Store(full=True)
    with pytest.raises(StorageError):
        await store.call("StopJob", agent_pb2.StopJobRequest(job="cache").SerializeToString())
    assert store.stopped == []


async def test_a_full_disk_keeps_nobody_from_looking() -> None:
    (reply,) = await Store(full=True).call("GetSpool")
    assert agent_pb2.GetSpoolResponse.FromString(reply).limit_bytes == 2


@pytest.mark.parametrize("principal", ["local:uid=0", "local:socket", "", "agent"])
async def test_central_can_name_nobody_on_site_as_the_caller(principal: str) -> None:
    store = Store()
    with pytest.raises(RefusedError) as refusal:
        async for _ in store.api().relay("StopJob", b"", principal):
            pass
    assert refusal.value.reason == "PERMISSION_DENIED"
    assert [e.actor for e in store.audit] == [f"central names {principal!r}"]
    assert [r async for r in store.api().relay("ListJobs", b"", OPERATOR)]


async def test_how_a_call_ended_is_in_the_trail_also_when_the_caller_left_or_the_agent_failed() -> None:
    store = Store()
    replies = store.api().answer("StreamLogs", agent_pb2.StreamLogsRequest(job="cache").SerializeToString(), OPERATOR)
    await anext(replies)
    await replies.aclose()
    with pytest.raises(ZeroDivisionError):
        await store.call("StreamLogs", agent_pb2.StreamLogsRequest(job="bug").SerializeToString())
    assert [(e.target, e.outcome) for e in store.audit] == [("cache", "CANCELLED"), ("bug", "INTERNAL")]


async def test_only_people_on_site_are_shown_what_must_not_leave_the_store() -> None:
    store = Store()
    for principal in (OPERATOR, "local:uid=0", "spiffe://td/central"):
        await store.call("ListDevices", agent_pb2.ListDevicesRequest(zone="cold").SerializeToString(), principal)
    assert [(asked.zone, asked.local) for asked in store.asked] == [("cold", False), ("cold", True), ("cold", False)]


async def test_an_identity_is_in_the_trail_with_its_device_and_without_its_password() -> None:
    store = Store()
    one = agent_pb2.PutDeviceRequest(device="fridge", make_password=True)
    (reply,) = await store.call("PutDevice", one.SerializeToString())
    told = agent_pb2.PutDeviceResponse.FromString(reply)
    assert (told.password, told.ca_der, told.in_force) == ("geheim", b"ca", True)
    await store.call("RevokeDevice", agent_pb2.RevokeDeviceRequest(device="fridge", forget=True).SerializeToString())
    assert store.revoked == [("fridge", True)]
    assert [(e.action, e.target, e.outcome) for e in store.audit] == [
        ("call.PutDevice", "fridge", "asked"), ("call.PutDevice", "fridge", "ok"),
        ("call.RevokeDevice", "fridge", "asked"), ("call.RevokeDevice", "fridge", "ok"),
    ]  # fmt: skip
    assert "geheim" not in repr(store.audit)


async def test_of_many_devices_each_stands_in_the_trail_and_a_mere_check_does_not() -> None:
    store = Store()
    many = agent_pb2.PutDevicesRequest(devices=[agent_pb2.PutDeviceRequest(device=name) for name in ("a", "b")])
    many.check = True
    await store.call("PutDevices", many.SerializeToString())
    assert (store.audit, store.orders) == ([], [])
    many.check = False
    (reply,) = await store.call("PutDevices", many.SerializeToString())
    assert len(agent_pb2.PutDevicesResponse.FromString(reply).devices) == 2
    assert [(e.target, e.outcome) for e in store.audit] == [("a", "asked"), ("b", "asked"), ("a", "ok"), ("b", "ok")]
    flood = agent_pb2.PutDevicesRequest(devices=[agent_pb2.PutDeviceRequest() for _ in range(5000)])
    await store.call("PutDevices", flood.SerializeToString())
    assert len(store.audit) < 1000


async def test_a_command_carries_who_asked_for_it_and_can_be_listed_and_cancelled() -> None:
    store = Store()
    (reply,) = await store.call(
        "SendDeviceCommand", agent_pb2.SendDeviceCommandRequest(device="fridge", queue_seconds=9).SerializeToString()
    )
    told = agent_pb2.SendDeviceCommandResponse.FromString(reply)
    assert (told.command, told.state, told.payload) == ("c1", agent_pb2.COMMAND_STATE_QUEUED, OPERATOR.encode())
    (reply,) = await store.call("ListDeviceCommands")
    assert [each.id for each in agent_pb2.ListDeviceCommandsResponse.FromString(reply).commands] == ["c1", "c2"]
    await store.call("CancelDeviceCommand", agent_pb2.CancelDeviceCommandRequest(command="c1").SerializeToString())
    assert store.cancelled == [("c1", OPERATOR)]
    assert [e.target for e in store.audit][-2:] == ["c1", "c1"]


async def test_an_image_is_pushed_in_many_calls_and_stands_in_the_trail_as_one_deed() -> None:
    store = Store()
    name = bytes.fromhex("ab" * 32)
    for offset, data in ((0, b""), (0, b"12"), (2, b"34"), (4, b""), (4, b"")):
        request = agent_pb2.PutImageRequest(archive_sha256=name, total_bytes=4, offset=offset, data=data)
        (reply,) = await store.call("PutImage", request.SerializeToString())
    answer = agent_pb2.PutImageResponse.FromString(reply)
    assert (answer.received_bytes, answer.digest) == (4, "sha256:ab")
    assert [(e.target, e.outcome) for e in store.audit] == [("ab" * 32, "asked"), ("ab" * 32, "ok"), ("ab" * 32, "ok")]
    wrong = agent_pb2.PutImageRequest(archive_sha256=name, total_bytes=4, offset=9)
    with pytest.raises(RefusedError, match="beyond"):
        await store.call("PutImage", wrong.SerializeToString())
    assert store.audit[-1].outcome == "CONFLICT"


async def test_images_are_listed_with_every_field() -> None:
    (reply,) = await Store().call("ListImages")
    (image,) = agent_pb2.ListImagesResponse.FromString(reply).images
    assert (image.digest, image.state, image.message) == ("sha256:ab", "unpacking", "half")
    assert (image.done_bytes, image.total_bytes, image.disk_bytes, image.last_used_unix_nano) == (5, 10, 20, 30)
