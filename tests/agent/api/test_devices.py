"""agent/api/devices.py."""

from dataclasses import replace

import pytest

from agent.api import devices
from agent.errors import RefusedError
from agent.model import Credential, DeviceProtocol, DeviceValue, DeviceView
from agent.orders import CommandState, CommandView, DevicePage, DeviceQuery, NewCredential
from storeedge.v1 import agent_pb2

FRIDGE = DeviceView("fridge", True, 1, 2, 3, 4, "devices/fridge/t", values=(DeviceValue("t", 4.5, "Cel", 7),))


def test_a_limit_of_nothing_is_a_thousand_and_so_is_any_above() -> None:
    limits = [devices.query(agent_pb2.ListDevicesRequest(limit=n), local=False).limit for n in (0, 5, 1000, 9999)]
    assert limits == [1000, 5, 1000, 1000]


def test_a_view_arrives_with_every_field() -> None:
    view = replace(
        FRIDGE,
        zone="cold",
        device_class="fridge",
        credential=Credential.CERTIFICATE,
        certificate_not_after_unix_nano=9,
        messages_per_minute=1.5,
        bytes_per_minute=2.5,
        silent_after_seconds=60,
        silent=True,
    )
    reply = devices.page(DevicePage((view,), True, 20, 10), DeviceQuery())
    (told,) = reply.devices
    assert (reply.more, reply.total, reply.online) == (True, 20, 10)
    assert (told.id, told.online, told.messages, told.bytes, told.last_topic) == ("fridge", True, 3, 4, view.last_topic)
    assert (told.zone, told.device_class, told.credential) == ("cold", "fridge", agent_pb2.CREDENTIAL_CERTIFICATE)
    assert (told.certificate_not_after_unix_nano, told.messages_per_minute, told.bytes_per_minute) == (9, 1.5, 2.5)
    assert (told.silent_after_seconds, told.silent, len(told.values)) == (60, True, 0)


def test_values_are_told_of_one_device_by_their_kind() -> None:
    values = tuple(DeviceValue(f"v{number}", value) for number, value in enumerate((True, 3, 2.5, "open")))
    view = replace(FRIDGE, values=values * 20)
    (told,) = devices.page(DevicePage((view,), False, 1, 1), DeviceQuery(device="fridge")).devices
    assert [value.WhichOneof("value") for value in told.values[:4]] == ["flag", "integer", "number", "text"]
    assert len(told.values) == 64


def test_what_does_not_fit_a_reply_is_asked_for_behind_the_last() -> None:
    views = tuple(replace(FRIDGE, id=f"d{number:04}", last_topic="x" * 500) for number in range(1000))
    reply = devices.page(DevicePage(views, False, 1000, 0), DeviceQuery())
    assert reply.more and 100 * 1024 < reply.ByteSize() <= 192 * 1024


def test_what_an_order_does_not_say_stays_as_it_is() -> None:
    bare = devices.order(agent_pb2.PutDeviceRequest(device="d"))
    assert (bare.zone, bare.device_class, bare.silent_after_seconds, bare.protocol, bare.group) == (None,) * 5
    request = agent_pb2.PutDeviceRequest(
        device="d", zone="", protocol=agent_pb2.DEVICE_PROTOCOL_SPARKPLUG, silent_after_seconds=0, make_key=True, days=9
    )
    told = devices.order(request)
    assert (told.zone, told.silent_after_seconds, told.protocol) == ("", 0, DeviceProtocol.SPARKPLUG)
    assert (told.credential, told.days) == (NewCredential.KEY, 9)


def test_two_kinds_of_identity_at_once_and_an_unknown_protocol_are_refused() -> None:
    with pytest.raises(RefusedError, match="d: one of"):
        devices.order(agent_pb2.PutDeviceRequest(device="d", make_key=True, csr_der=b"x"))
    with pytest.raises(RefusedError, match="protocol: 77"):
        devices.order(agent_pb2.PutDeviceRequest(device="d", protocol=77))  # type: ignore[arg-type]  # from the wire


def test_a_command_that_says_nothing_else_waits_ten_seconds_and_is_sent_once() -> None:
    plain = devices.command(agent_pb2.SendDeviceCommandRequest(device="d", name="n"), "local:uid=0")
    assert (plain.timeout_seconds, plain.at_least_once, plain.queue_seconds, plain.actor) == (
        10,
        False,
        0,
        "local:uid=0",
    )
    with pytest.raises(RefusedError, match="queue_seconds"):
        devices.command(agent_pb2.SendDeviceCommandRequest(queue_seconds=604_801), "x")
    with pytest.raises(RefusedError, match="assurance"):
        devices.command(agent_pb2.SendDeviceCommandRequest(assurance=9), "x")  # type: ignore[arg-type]  # from the wire


def test_commands_are_told_in_order_until_the_reply_is_full() -> None:
    view = CommandView("c", "d", "open", "x", CommandState.ANSWERED, 1, 2, 1, b"y" * 9999)
    found = [replace(view, id=f"c{number:03}") for number in range(99, -1, -1)]
    asked = agent_pb2.ListDeviceCommandsRequest(after="c010", device="d")
    reply = devices.command_page(devices.commands(found, asked))
    assert reply.more and reply.commands[0].id == "c011" and len(reply.commands[0].answer) == 4096
    assert devices.commands(found, agent_pb2.ListDeviceCommandsRequest(device="other")) == []
