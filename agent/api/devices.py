"""What is asked and answered about devices, between protobuf and our own nouns. Pure."""

from collections.abc import Sequence

from agent.errors import RefusedError
from agent.model import Credential, DeviceProtocol, DeviceValue, DeviceView
from agent.orders import (
    CommandAnswer,
    CommandOrder,
    CommandView,
    DeviceIdentity,
    DeviceOrder,
    DevicePage,
    DeviceQuery,
    IssuedDevices,
    NewCredential,
)
from storeedge.v1 import agent_pb2, record_pb2

REPLY_BYTES = 180 * 1024  # below the tunnel's bound of 192 KiB
_MAX_DEVICES = 1000
_MAX_VALUES = 64
_MAX_QUEUE_SECONDS = 604_800
_ANSWER_BYTES = 4096
_PROTOCOLS = {
    agent_pb2.DEVICE_PROTOCOL_UNSPECIFIED: DeviceProtocol.NATIVE,
    agent_pb2.DEVICE_PROTOCOL_NATIVE: DeviceProtocol.NATIVE,
    agent_pb2.DEVICE_PROTOCOL_SPARKPLUG: DeviceProtocol.SPARKPLUG,
    agent_pb2.DEVICE_PROTOCOL_ZIGBEE2MQTT: DeviceProtocol.ZIGBEE2MQTT,
}


def query(request: agent_pb2.ListDevicesRequest, *, local: bool) -> DeviceQuery:
    return DeviceQuery(
        after=request.after,
        limit=min(request.limit or _MAX_DEVICES, _MAX_DEVICES),
        zone=request.zone,
        device_class=request.device_class,
        device=request.device,
        silent=request.silent,
        local=local,
    )


def page(found: DevicePage, asked: DeviceQuery) -> agent_pb2.ListDevicesResponse:
    """As many as fit a reply; `more` says that the rest has to be asked for."""
    reply = agent_pb2.ListDevicesResponse(more=found.more, total=found.total, online=found.online)
    size = 0
    for view in found.devices:
        device = _device(view, with_values=bool(asked.device))
        size += device.ByteSize() + 4
        if size > REPLY_BYTES and reply.devices:
            reply.more = True
            break
        reply.devices.append(device)
    return reply


def _device(view: DeviceView, *, with_values: bool) -> agent_pb2.Device:
    return agent_pb2.Device(
        id=view.id,
        online=view.online,
        first_seen_unix_nano=view.first_seen_unix_nano,
        last_seen_unix_nano=view.last_seen_unix_nano,
        messages=view.messages,
        bytes=view.payload_bytes,
        last_topic=view.last_topic,
        zone=view.zone,
        device_class=view.device_class,
        credential=None if view.credential is Credential.NONE else f"CREDENTIAL_{view.credential.name}",
        certificate_not_after_unix_nano=view.certificate_not_after_unix_nano,
        messages_per_minute=view.messages_per_minute,
        bytes_per_minute=view.bytes_per_minute,
        silent_after_seconds=view.silent_after_seconds,
        silent=view.silent,
        values=[_value(value) for value in view.values[:_MAX_VALUES]] if with_values else None,
    )


def _value(value: DeviceValue) -> record_pb2.DeviceValue:
    told = record_pb2.DeviceValue(name=value.name, unit=value.unit, time_unix_nano=value.time_unix_nano)
    match value.value:
        case bool():
            told.flag = value.value
        case int():
            told.integer = value.value
        case float():
            told.number = value.value
        case str():
            told.text = value.value
    return told


def order(request: agent_pb2.PutDeviceRequest) -> DeviceOrder:
    """Raises RefusedError for what our nouns can't say; their bounds are judged by who carries it out."""
    wished = {
        NewCredential.CSR: bool(request.csr_der),
        NewCredential.KEY: request.make_key,
        NewCredential.PASSWORD: request.make_password,
    }
    chosen = [credential for credential, is_wished in wished.items() if is_wished]
    if len(chosen) > 1:
        raise RefusedError("BAD_REQUEST", f"{request.device[:64]}: one of csr_der, make_key and make_password")
    if request.protocol not in _PROTOCOLS:
        raise RefusedError("BAD_REQUEST", f"{request.device[:64]}: protocol: {request.protocol} is none")
    return DeviceOrder(
        request.device,
        zone=request.zone if request.HasField("zone") else None,
        device_class=request.device_class if request.HasField("device_class") else None,
        silent_after_seconds=request.silent_after_seconds if request.HasField("silent_after_seconds") else None,
        protocol=_PROTOCOLS[request.protocol] if request.HasField("protocol") else None,
        group=request.group if request.HasField("group") else None,
        credential=chosen[0] if chosen else NewCredential.NONE,
        csr_der=request.csr_der,
        days=request.days,
        keep=request.keep,
        hold=request.hold,
    )


def put_one(issued: IssuedDevices) -> agent_pb2.PutDeviceResponse:
    reply = _identity(issued.identities[0])
    reply.ca_der, reply.in_force = issued.ca_der, issued.in_force
    return reply


def put_many(issued: IssuedDevices) -> agent_pb2.PutDevicesResponse:
    return agent_pb2.PutDevicesResponse(
        devices=[_identity(each) for each in issued.identities], ca_der=issued.ca_der, in_force=issued.in_force
    )


def _identity(identity: DeviceIdentity) -> agent_pb2.PutDeviceResponse:
    return agent_pb2.PutDeviceResponse(
        certificate_der=identity.certificate_der,
        key_der=identity.key_der,
        password=identity.password,
        not_after_unix_nano=identity.not_after_unix_nano,
    )


def command(request: agent_pb2.SendDeviceCommandRequest, caller: str) -> CommandOrder:
    """Raises RefusedError."""
    if request.queue_seconds > _MAX_QUEUE_SECONDS:
        raise RefusedError("BAD_REQUEST", f"queue_seconds: at most {_MAX_QUEUE_SECONDS}")
    if request.assurance not in agent_pb2.Assurance.values():
        raise RefusedError("BAD_REQUEST", f"assurance: {request.assurance} is none")
    return CommandOrder(
        actor=caller,
        device=request.device,
        name=request.name,
        payload=request.payload,
        timeout_seconds=min(request.timeout_milli or 10_000, 60_000) / 1000,
        idempotency_key=request.idempotency_key,
        at_least_once=request.assurance == agent_pb2.ASSURANCE_AT_LEAST_ONCE,
        queue_seconds=request.queue_seconds,
    )


def answer(told: CommandAnswer) -> agent_pb2.SendDeviceCommandResponse:
    return agent_pb2.SendDeviceCommandResponse(
        payload=told.payload,
        elapsed_milli=told.elapsed_milli,
        command=told.command,
        state=f"COMMAND_STATE_{told.state.name}",
    )


def commands(found: Sequence[CommandView], asked: agent_pb2.ListDeviceCommandsRequest) -> Sequence[CommandView]:
    """Those that are asked for, by id."""
    chosen = (each for each in found if each.id > asked.after and asked.device in ("", each.device))
    return sorted(chosen, key=lambda each: each.id)


def command_page(found: Sequence[CommandView]) -> agent_pb2.ListDeviceCommandsResponse:
    """As many as fit a reply."""
    reply, size = agent_pb2.ListDeviceCommandsResponse(), 0
    for view in found:
        told = agent_pb2.DeviceCommand(
            id=view.id,
            device=view.device,
            name=view.name,
            actor=view.actor,
            state=f"COMMAND_STATE_{view.state.name}",
            asked_unix_nano=view.asked_unix_nano,
            expires_unix_nano=view.expires_unix_nano,
            sent=view.sent,
            answer=view.answer[:_ANSWER_BYTES],
        )
        size += told.ByteSize() + 4
        if size > REPLY_BYTES:
            reply.more = True
            break
        reply.commands.append(told)
    return reply
