"""Devices and jobs with an identity who do their worst: the broker lives, within its memory, and others are served."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.model import Credential
from agent.mqtt import tenants
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.secret import password
from agent.spec import MqttGrant, MqttView
from tests.integration import raw_mqtt as raw
from tests.integration.tenant_parts import WITNESS, TenantBroker, TenantClient, access

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
SECRET = b"h" * 32
BIG = bytes(250_000)  # a packet may have 262,144
QUOTA_EXCEEDED = 0x97
# Two clients' worth of what is under way and queued, and what the broker has besides. Its unit ends it at 512 MiB.
BOUND_MIB = 200


def view(run: str, tenant: str) -> MqttView:
    return MqttView(run, tenant, run, (MqttGrant("good", channel="#"),))


VIEWS = (view("r1", "acme"), view("r2", "acme"), view("r3", "bolt"))


@pytest.fixture
def broker() -> Iterator[TenantBroker]:
    accounts = [Account(name, credential=Credential.PASSWORD, password_generation=1) for name in ("evil", "good")]
    one = TenantBroker()
    try:
        one.start(access(SECRET, accounts, VIEWS))
        yield one
    finally:
        one.purge()


class Evil:
    """A connection as the device `name`, of bytes; `with` closes it."""

    def __init__(self, broker: TenantBroker, name: str = "evil", *, expiry: int = 0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", broker.port), 20)
        secret = password(SECRET, "device", name, 1)
        self.socket.sendall(raw.connect(name.encode(), name.encode(), secret.encode(), expiry=expiry))
        assert self.socket.recv(64)[0] == 0x20

    def __enter__(self) -> "Evil":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, packet: bytes) -> None:
        self.socket.sendall(packet)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, number: int = 1, properties: bytes = b"") -> None:
        body = raw.text(topic.encode()) + (struct.pack(">H", number) if qos else b"")
        self.send(raw.packet(0x30 | qos << 1, body + raw.number(len(properties)) + properties + payload))

    def closed(self) -> bool:
        """What came is read until nothing does for a while."""
        self.socket.settimeout(1)
        with suppress(TimeoutError):
            while self.socket.recv(65536):
                pass
            return True
        return False


def memory_mib(broker: TenantBroker) -> float:
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def served(broker: TenantBroker) -> float:
    """Seconds until a well-behaved device is connected and its message is taken."""
    began = time.monotonic()
    with Evil(broker, "good") as good:
        good.send(raw.publish(b"devices/good/t"))
        assert good.socket.recv(64)[0] == 0x40
    return time.monotonic() - began


def test_what_is_begun_with_qos_2_and_never_ended_is_bounded(broker: TenantBroker) -> None:
    """PUBLISH without PUBREL: the broker keeps each, also over its restart, when the session is to be kept."""
    answer = b""
    with Evil(broker, expiry=3600) as evil:
        for number in range(1, 1001):
            evil.publish("devices/evil/x", BIG, qos=2, number=number)
            answer = evil.socket.recv(64)
        assert answer[-1] == QUOTA_EXCEEDED
        assert memory_mib(broker) < BOUND_MIB
        assert served(broker) < 5


def test_a_job_that_does_not_read_is_owed_a_bounded_amount(broker: TenantBroker) -> None:
    deaf = raw.Raw(broker.socket, tenants.username("r1"), tenants.password(SECRET, "acme", "r1"))
    assert deaf.ask(raw.subscribe(b"tenants/acme/#")) == 1
    loud = TenantClient(broker, tenants.username("r2"), tenants.password(SECRET, "acme", "r2"))
    for _ in range(1000):
        loud.answer(loud.publish("tenants/acme/x", BIG))
    assert memory_mib(broker) < BOUND_MIB
    assert served(broker) < 5
    loud.close()
    deaf.vanish()


def test_a_share_that_one_tenant_does_not_read_takes_nothing_from_another(broker: TenantBroker) -> None:
    deaf = raw.Raw(broker.socket, tenants.username("r1"), tenants.password(SECRET, "acme", "r1"))
    assert deaf.ask(raw.subscribe(b"$share/acme/devices/good/n")) == 1
    member = TenantClient(broker, tenants.username("r3"), tenants.password(SECRET, "bolt", "r3"))
    assert member.answer(member.subscribe("$share/bolt/devices/good/n")) == 1
    witness = TenantClient(broker, WITNESS, WITNESS)
    for number in range(2000):
        witness.answer(witness.publish("devices/good/n", b"%d" % number))
    deadline = time.monotonic() + 20
    while len(member.got) < 2000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [int(each.payload) for each in member.got] == list(range(2000))
    for each in (member, witness):
        each.close()
    deaf.vanish()


def test_properties_topics_aliases_and_subscriptions_without_end(broker: TenantBroker) -> None:
    before = memory_mib(broker)
    many = b"".join(b"\x26" + raw.text(b"k") + raw.text(b"v") for _ in range(35_000))
    with Evil(broker) as evil:
        for number in range(1, 21):
            evil.publish("devices/evil/u", b"1", qos=1, number=number, properties=many)
        for number in range(20_000):
            evil.send(raw.subscribe(b"devices/evil/cmd/%d" % number))
        assert not evil.closed()
        evil.send(raw.publish(b"devices/evil/a", alias=11))  # ten are allowed
        assert evil.closed()
    with Evil(broker) as deep:
        deep.publish("devices/evil" + "/a" * 30_000, b"1")  # 200 levels are allowed
        assert deep.closed()
    assert memory_mib(broker) < before + 50
    assert served(broker) < 5


def test_a_will_that_is_to_come_in_years_keeps_the_device_from_nothing(broker: TenantBroker) -> None:
    """Its session and its will are one each: who comes back under the name takes them over, or ends them."""
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", broker.port), 10)
        connection.sendall(_with_late_will())
        assert connection.recv(64)[0] == 0x20
        connection.close()
    witness = TenantClient(broker, WITNESS, WITNESS)
    assert witness.answer(witness.subscribe("devices/evil/#")) == 1
    with Evil(broker) as evil:
        evil.publish("devices/evil/t", b"1", qos=1)
        deadline = time.monotonic() + 10
        while not witness.got and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [each.topic for each in witness.got] == ["devices/evil/t"]
    witness.close()


def _with_late_will() -> bytes:
    """CONNECT with a session, a will and its delay as long as MQTT 5 can say: 136 years."""
    session, delay = b"\x11\xff\xff\xff\xff", b"\x18\xff\xff\xff\xff"
    body = raw.text(b"MQTT") + bytes([5, 0xC4]) + b"\0\0" + raw.number(len(session)) + session + raw.text(b"evil")
    body += raw.number(len(delay)) + delay + raw.text(b"devices/evil/status") + raw.text(b"offline")
    return raw.packet(0x10, body + raw.text(b"evil") + raw.text(password(SECRET, "device", "evil", 1).encode()))
