"""Every method of AgentService: what it takes, who may call it, what it answers from."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from agent.api import devices
from agent.clock import Clock
from agent.errors import RefusedError
from agent.model import ImageView, JobView, LogLine, SpoolView
from agent.orders import (
    CommandAnswer,
    CommandOrder,
    CommandView,
    DeviceOrder,
    DevicePage,
    DeviceQuery,
    IssuedDevices,
)
from storeedge.v1 import agent_pb2

# Who calls: central itself, an operator (through central or on the port), somebody at the store's own socket.
CENTRAL, OPERATOR, LOCAL = "central", "operator", "local"
EVERYBODY = frozenset({CENTRAL, OPERATOR, LOCAL})

_LINES_BYTES = 64 * 1024
_MESSAGE_BYTES = 1024
_MAX_TARGETS = 256  # as many as PutDevices takes; a request with more is refused


@dataclass(frozen=True, slots=True)
class NodeFacts:
    spiffe_id: str
    agent_version: str
    agent_pid: int
    uptime_seconds: int
    desired_revision: int
    connected: bool
    certificate_not_after_unix_nano: int
    launcher: dict[str, str]
    conditions: tuple[str, ...] = ()  # what is wrong with the box, for people


async def no_images() -> tuple[ImageView, ...]:
    """Where [jobs] is not enabled."""
    return ()


async def no_image_put(*_: object) -> tuple[int, str]:
    raise RefusedError("UNIMPLEMENTED", "this node runs no jobs ([jobs] enabled = false): it takes no images")


_NO_BROKER = "this node has no broker ([mqtt] enabled = false)"


async def no_devices_put(*_: object) -> IssuedDevices:
    """Where [mqtt] is not enabled; so are the next two."""
    raise RefusedError("UNIMPLEMENTED", _NO_BROKER)


async def no_device_revoked(*_: object) -> bool:
    raise RefusedError("UNIMPLEMENTED", _NO_BROKER)


async def no_command_cancelled(*_: object) -> None:
    raise RefusedError("UNIMPLEMENTED", _NO_BROKER)


@dataclass(frozen=True, slots=True)
class Sources:
    """What the API answers from; app.py hands in the services' own methods."""

    clock: Clock
    node: Callable[[], NodeFacts]
    jobs: Callable[[], tuple[JobView, ...]]
    stop_job: Callable[[str], Awaitable[None]]
    logs: Callable[[str, int, bool], AsyncIterator[list[LogLine]]]
    devices: Callable[[DeviceQuery], DevicePage]
    send_command: Callable[[CommandOrder], Awaitable[CommandAnswer]]
    spool: Callable[[], SpoolView]
    images: Callable[[], Awaitable[tuple[ImageView, ...]]] = no_images
    put_image: Callable[[bytes, int, int, bytes], Awaitable[tuple[int, str]]] = no_image_put
    put_devices: Callable[[Sequence[DeviceOrder], bool], Awaitable[IssuedDevices]] = no_devices_put  # True: only check
    revoke_device: Callable[[str, bool], Awaitable[bool]] = no_device_revoked  # True: forget it too; is it in force
    commands: Callable[[], Sequence[CommandView]] = tuple
    cancel_command: Callable[[str, str], Awaitable[None]] = no_command_cancelled  # its id, who asks


Handler = Callable[[Sources, Message, str], AsyncIterator[Message]]  # the last is who calls


def _always(_: Message) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Method:
    """`acts`: it changes something, so that it must stand in the audit trail before it begins.

    `begins` and `ends` say of a method that is called many times for one deed which call is its first and which
    answer its last; only these two are written down, and every refusal.
    """

    request: type[Message]
    handler: Handler
    roles: frozenset[str]
    streams: bool = False
    acts: bool = False
    begins: Callable[[Message], bool] = _always
    ends: Callable[[Message], bool] = _always


async def _get_node(sources: Sources, _: Message, _caller: str) -> AsyncIterator[Message]:
    facts = sources.node()
    yield agent_pb2.GetNodeResponse(
        spiffe_id=facts.spiffe_id,
        agent_version=facts.agent_version,
        boot_id=sources.clock.boot_id,
        time_unix_nano=sources.clock.wall_nano(),
        uptime_seconds=facts.uptime_seconds,
        desired_revision=facts.desired_revision,
        connected=facts.connected,
        certificate_not_after_unix_nano=facts.certificate_not_after_unix_nano,
        agent_pid=facts.agent_pid,
        launcher=facts.launcher,
        conditions=facts.conditions,
    )


async def _list_jobs(sources: Sources, _: Message, _caller: str) -> AsyncIterator[Message]:
    reply = agent_pb2.ListJobsResponse()
    size = 0
    for view in sources.jobs():
        job = _job(view)
        if size > devices.REPLY_BYTES // 2:  # every job, if need be without the words for people
            job.ClearField("message")
            job.ClearField("image")
        reply.jobs.append(job)
        size += job.ByteSize() + 4
    yield reply


def _job(view: JobView) -> agent_pb2.Job:
    return agent_pb2.Job(
        id=view.id,
        generation=view.generation,
        tenant=view.tenant,
        state=f"JOB_STATE_{view.state.name}",
        reason=view.reason,
        attempt=view.attempt,
        exit_code=view.exit_code,
        pid=view.pid,
        started_unix_nano=view.started_unix_nano,
        ended_unix_nano=view.ended_unix_nano,
        message=view.message.encode(errors="replace")[:_MESSAGE_BYTES].decode(errors="ignore"),
        health=f"HEALTH_{view.health.name}" if view.health else None,
        image=view.image,
    )


async def _stop_job(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.StopJobRequest)  # noqa: S101  the table pairs them
    await sources.stop_job(request.job)
    yield agent_pb2.StopJobResponse()


async def _stream_logs(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.StreamLogsRequest)  # noqa: S101  the table pairs them
    tail_bytes = min(request.tail_bytes or 65536, 1 << 20)
    async for lines in sources.logs(request.job, tail_bytes, request.follow):
        part, size = agent_pb2.StreamLogsResponse(), 0
        for line in lines:
            if size >= _LINES_BYTES:
                yield part
                part, size = agent_pb2.StreamLogsResponse(), 0
            part.lines.add(time_unix_nano=line.time_unix_nano, stderr=line.stderr, text=line.text)
            size += len(line.text) + 16
        if part.lines:
            yield part


async def _list_devices(sources: Sources, request: Message, caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.ListDevicesRequest)  # noqa: S101  the table pairs them
    asked = devices.query(request, local=caller.startswith("local:"))
    yield devices.page(sources.devices(asked), asked)


async def _put_device(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.PutDeviceRequest)  # noqa: S101  the table pairs them
    yield devices.put_one(await sources.put_devices([devices.order(request)], False))


async def _put_devices(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.PutDevicesRequest)  # noqa: S101  the table pairs them
    orders = [devices.order(each) for each in request.devices]
    yield devices.put_many(await sources.put_devices(orders, request.check))


async def _revoke_device(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.RevokeDeviceRequest)  # noqa: S101  the table pairs them
    yield agent_pb2.RevokeDeviceResponse(in_force=await sources.revoke_device(request.device, request.forget))


async def _send_device_command(sources: Sources, request: Message, caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.SendDeviceCommandRequest)  # noqa: S101  the table pairs them
    yield devices.answer(await sources.send_command(devices.command(request, caller)))


async def _list_device_commands(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.ListDeviceCommandsRequest)  # noqa: S101  the table pairs them
    yield devices.command_page(devices.commands(sources.commands(), request))


async def _cancel_device_command(sources: Sources, request: Message, caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.CancelDeviceCommandRequest)  # noqa: S101  the table pairs them
    await sources.cancel_command(request.command, caller)
    yield agent_pb2.CancelDeviceCommandResponse()


async def _get_spool(sources: Sources, _: Message, _caller: str) -> AsyncIterator[Message]:
    view = sources.spool()
    yield agent_pb2.GetSpoolResponse(
        epoch=view.epoch,
        bytes=view.payload_bytes,
        limit_bytes=view.limit_bytes,
        classes=[
            agent_pb2.SpoolClass(
                record_class=f"RECORD_CLASS_{c.record_class.name}",
                next_seq=c.next_seq,
                acked_seq=c.acked_seq,
                records=c.records,
                dropped=c.dropped,
            )
            for c in view.classes
        ],
    )


async def _put_image(sources: Sources, request: Message, _caller: str) -> AsyncIterator[Message]:
    assert isinstance(request, agent_pb2.PutImageRequest)  # noqa: S101  the table pairs them
    received_bytes, digest = await sources.put_image(
        request.archive_sha256, request.total_bytes, request.offset, request.data
    )
    yield agent_pb2.PutImageResponse(received_bytes=received_bytes, digest=digest)


def _first_piece(request: Message) -> bool:
    assert isinstance(request, agent_pb2.PutImageRequest)  # noqa: S101  the table pairs them
    return request.offset == 0 and bool(request.data)


def _became_an_image(reply: Message) -> bool:
    assert isinstance(reply, agent_pb2.PutImageResponse)  # noqa: S101  the table pairs them
    return bool(reply.digest)


async def _list_images(sources: Sources, _: Message, _caller: str) -> AsyncIterator[Message]:
    reply = agent_pb2.ListImagesResponse()
    for image in (await sources.images())[:512]:
        reply.images.add(
            digest=image.digest,
            state=image.state,
            message=image.message[:256],
            done_bytes=image.done_bytes,
            total_bytes=image.total_bytes,
            disk_bytes=image.disk_bytes,
            last_used_unix_nano=image.last_used_unix_nano,
        )
    yield reply


def _more_than_a_check(request: Message) -> bool:
    assert isinstance(request, agent_pb2.PutDevicesRequest)  # noqa: S101  the table pairs them
    return not request.check


def _put_some(reply: Message) -> bool:
    assert isinstance(reply, agent_pb2.PutDevicesResponse)  # noqa: S101  the table pairs them
    return bool(reply.devices)


METHODS = {
    "GetNode": Method(agent_pb2.GetNodeRequest, _get_node, EVERYBODY),
    "ListJobs": Method(agent_pb2.ListJobsRequest, _list_jobs, EVERYBODY),
    "StopJob": Method(agent_pb2.StopJobRequest, _stop_job, EVERYBODY, acts=True),
    "StreamLogs": Method(agent_pb2.StreamLogsRequest, _stream_logs, EVERYBODY, streams=True),
    "ListDevices": Method(agent_pb2.ListDevicesRequest, _list_devices, EVERYBODY),
    "PutDevice": Method(agent_pb2.PutDeviceRequest, _put_device, EVERYBODY, acts=True),
    "PutDevices": Method(
        agent_pb2.PutDevicesRequest, _put_devices, EVERYBODY, acts=True, begins=_more_than_a_check, ends=_put_some
    ),
    "RevokeDevice": Method(agent_pb2.RevokeDeviceRequest, _revoke_device, EVERYBODY, acts=True),
    "SendDeviceCommand": Method(agent_pb2.SendDeviceCommandRequest, _send_device_command, EVERYBODY, acts=True),
    "ListDeviceCommands": Method(agent_pb2.ListDeviceCommandsRequest, _list_device_commands, EVERYBODY),
    "CancelDeviceCommand": Method(agent_pb2.CancelDeviceCommandRequest, _cancel_device_command, EVERYBODY, acts=True),
    "GetSpool": Method(agent_pb2.GetSpoolRequest, _get_spool, EVERYBODY),
    "PutImage": Method(
        agent_pb2.PutImageRequest, _put_image, EVERYBODY, acts=True, begins=_first_piece, ends=_became_an_image
    ),
    "ListImages": Method(agent_pb2.ListImagesRequest, _list_images, EVERYBODY),
}


def targets_of(request: Message) -> tuple[str, ...]:
    """What a request is about, for the audit trail, an entry for each; one that is empty for the node itself."""
    match request:
        case agent_pb2.StopJobRequest() | agent_pb2.StreamLogsRequest():
            return (request.job,)
        case agent_pb2.SendDeviceCommandRequest():
            return (f"{request.device}/{request.name}",)
        case agent_pb2.PutDeviceRequest() | agent_pb2.RevokeDeviceRequest():
            return (request.device,)
        case agent_pb2.PutDevicesRequest():
            return tuple(each.device for each in request.devices[:_MAX_TARGETS]) or ("",)
        case agent_pb2.CancelDeviceCommandRequest():
            return (request.command,)
        case agent_pb2.PutImageRequest():
            return (request.archive_sha256.hex()[:64],)
        case _:
            return ("",)
