"""What the broker has retained goes with who said it, and nobody can have it keep without end."""

import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from socket import create_connection

import pytest

from agent.model import Body, Event
from agent.mqtt.access.secret import load_or_make, password
from agent.mqtt.users import STORE
from tests.integration import raw_mqtt as raw
from tests.integration.mqtt_parts import until
from tests.integration.test_device_identity import Box

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]


class Told(Box):
    def __init__(self, directory: Path) -> None:
        self.events: list[Body] = []
        super().__init__(directory)

    async def _record(self, bodies: Sequence[Body]) -> None:  # type: ignore[override]  # the other takes anything
        self.events += bodies

    def kept(self) -> set[str]:
        """Topics of what the broker has retained of devices."""
        secret = password(load_or_make(self.home), "store", STORE, 0)
        argv = ["mosquitto_sub", "-p", f"{self.loopback}", "-u", STORE, "-P", secret, "-V", "5", "-W", "1", "-F", "%t"]
        said = subprocess.run(
            [*argv, "--retained-only", "-t", "devices/#"], capture_output=True, text=True, check=False
        )
        return set(said.stdout.split())

    def retain(self, device: str, secret: str, topics: Sequence[str], payload: bytes) -> None:
        with closing(create_connection(("127.0.0.1", self.loopback), 10)) as connection:
            connection.sendall(raw.connect(device.encode(), device.encode(), secret.encode()))
            assert connection.recv(64)[0] == 0x20
            for topic in topics:
                name = raw.text(f"devices/{device}/{topic}".encode())
                connection.sendall(raw.packet(0x31, name + b"\0" + payload))
            connection.sendall(raw.packet(0x32, raw.text(f"devices/{device}/x".encode()) + struct.pack(">HB", 1, 0)))
            assert connection.recv(64)  # all before it was taken


@pytest.fixture
async def box() -> AsyncIterator[Told]:
    directory = Path(f"/var/tmp/retained-{os.getpid()}")
    directory.mkdir()
    try:
        box = Told(directory)
        async with box.running():
            yield box
    finally:
        shutil.rmtree(directory)


async def test_a_revoked_device_leaves_nothing_retained_and_others_keep_theirs(box: Told) -> None:
    fridge, door = await box.password("fridge"), await box.password("door")
    box.retain("fridge", fridge, ("status", "config/a/b"), b"online")
    box.retain("door", door, ("status",), b"online")
    assert box.kept() == {"devices/fridge/status", "devices/fridge/config/a/b", "devices/door/status"}
    await box.identities.revoke("fridge", forget=False)
    await until(lambda: box.kept() == {"devices/door/status"}, "the revoked device's to go")
    await box.identities.revoke("door", forget=True)
    await until(lambda: not box.kept(), "the forgotten device's to go")
    assert box.events == []


def with_will(device: str, secret: str, delay_seconds: int) -> bytes:
    """CONNECT with a session of an hour, and a retained will that is said so long after the connection was lost."""
    session, delay = b"\x11" + struct.pack(">I", 3600), b"\x18" + struct.pack(">I", delay_seconds)
    body = raw.text(b"MQTT") + bytes([5, 0xE4]) + b"\0\x3c" + raw.number(len(session)) + session
    body += raw.text(device.encode()) + raw.number(len(delay)) + delay
    body += raw.text(f"devices/{device}/will".encode()) + raw.text(b"last words")
    return raw.packet(0x10, body + raw.text(device.encode()) + raw.text(secret.encode()))


async def test_the_last_will_of_a_revoked_device_is_not_said(box: Told) -> None:
    """Neither when it is thrown out, nor when its time has come later; that of another one is."""
    there, gone, honest = [(name, await box.password(name)) for name in ("there", "gone", "honest")]
    with closing(create_connection(("127.0.0.1", box.loopback), 10)) as stays:
        stays.sendall(with_will(*there, 0))
        assert stays.recv(64)[0] == 0x20
        for name, secret in (gone, honest):
            with closing(create_connection(("127.0.0.1", box.loopback), 10)) as leaves:
                leaves.sendall(with_will(name, secret, 2))
                assert leaves.recv(64)[0] == 0x20
        for name in ("there", "gone"):
            await box.identities.revoke(name, forget=False)
        await until(lambda: "devices/honest/will" in box.kept(), "the will of who was not revoked")
    assert box.kept() == {"devices/honest/will"}


async def test_who_has_the_broker_keep_without_end_is_shut_out_and_named(box: Told) -> None:
    evil, door = await box.password("evil"), await box.password("door")
    box.retain("door", door, ("status",), b"online")
    box.retain("evil", evil, [f"{number}" for number in range(450)], bytes(250_000))  # 107 MiB
    await until(lambda: bool(box.events), "an event")
    (event,) = box.events
    assert isinstance(event, Event) and (event.kind, event.attributes["device"]) == ("device.shut-out", "evil")
    assert box.kept() == {"devices/door/status"}
    with pytest.raises((AssertionError, OSError, IndexError)):
        box.retain("evil", evil, ("again",), b"x")
    box.retain("door", door, ("again",), b"x")
