"""Identities of devices against a real mosquitto: who gets in, as whom, and who doesn't any more."""

import asyncio
import os
import random
import shutil
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from agent.cli.device_list import pem
from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.mqtt import users
from agent.mqtt.access import seed
from agent.mqtt.access.ca import DeviceCa, Wish
from agent.mqtt.access.policy import Access
from agent.mqtt.access.secret import load_or_make
from agent.mqtt.control import Control
from agent.mqtt.gate import Gate
from agent.mqtt.users import AGENT, CONTROL
from agent.orders import DeviceOrder, NewCredential
from tests.broker_files import BrokerFiles
from tests.integration.mqtt_parts import until

pytestmark = [pytest.mark.integration, pytest.mark.root]

COMMANDS = "$CONTROL/dynamic-security/v1"
KEY, PASSWORD = NewCredential.KEY, NewCredential.PASSWORD


class Box:
    """A store's box: accounts, CA, what brings the broker up to date, and the broker as it is shipped."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.files = BrokerFiles(directory / "broker", directory / "run", owner="root")
        self.loopback = self.files.ports.plain
        self.certificates, self.passwords = self.files.ports.certificates, self.files.ports.passwords
        clock = system_clock()
        self.gate = Gate(load_or_make(directory), directory, self.files.dir, self._record, clock, lambda _: False)
        self.identities = self.gate.identities
        config = MqttConfig(port=self.loopback, broker_dir=self.files.dir)
        self._control, self._commands = (
            Control(config, user, self.gate.password(user), clock, random.random) for user in (CONTROL, users.COMMANDS)
        )
        self.gate.attach(
            self._control,
            self._commands,
            lambda: Control(config, users.RETAINED, self.gate.password(users.RETAINED), clock, random.random),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        await self.gate.open()
        await self.identities.ensure_ca()
        key = load_or_make(self.home)
        self.files.install(seed.document(Access(key, {}, {}, frozenset())))
        with (self.home / "mosquitto.log").open("wb") as log:
            process = subprocess.Popen(self.files.argv, stdout=log, stderr=log)
        try:
            await until(self.files.listens, "mosquitto to listen")
            self.files.watch(process)
            async with asyncio.TaskGroup() as group:
                works = (self._control.run(), self._commands.run(), self.gate.run())
                tasks = [group.create_task(work) for work in works]
                await until(lambda: self._control.connected and self._commands.connected, "the agent to be let in")
                yield
                for task in tasks:
                    task.cancel()
        finally:
            self.files.close()
            process.terminate()
            process.wait(10)
            await self.gate.close()

    async def _record(self, _: object) -> None:
        """Nobody is told."""

    async def certified(self, device: str, name: str = "") -> Path:
        """DIR/NAME.crt and .key of a certificate for the device."""
        issued = await self.identities.put([DeviceOrder(device, credential=KEY)])
        return self.keep(issued.identities[0].certificate_der, issued.identities[0].key_der, name or device)

    def keep(self, certificate_der: bytes, key_der: bytes, name: str) -> Path:
        (self.home / f"{name}.crt").write_text(pem("CERTIFICATE", certificate_der))
        (self.home / f"{name}.key").write_text(pem("PRIVATE KEY", key_der))
        return self.home / name

    def device(self, identity: Path | None, claims: str = "") -> "Client":
        return Client(self.certificates, ca=self.files.dir / "ca.crt", identity=identity, claims=claims)

    async def password(self, device: str) -> str:
        return (await self.identities.put([DeviceOrder(device, credential=PASSWORD)])).identities[0].password


class Client:
    """A device with paho; `outcome` is the broker's word to its CONNECT, or "TLS" when there was none."""

    def __init__(
        self,
        port: int,
        user: str = "",
        secret: str = "",
        *,
        ca: Path | None = None,
        identity: Path | None = None,
        claims: str = "",
    ) -> None:
        self.outcome, self.gone = "TLS", threading.Event()
        self._told, self._acks = threading.Event(), dict[int, str]()
        self._acked = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, claims or "any", protocol=paho.MQTTv5)
        if user:
            self._client.username_pw_set(user, secret)
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            if identity is not None:
                context.load_cert_chain(identity.with_name(f"{identity.name}.crt"), f"{identity}.key")
            self._client.tls_set_context(context)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._left
        self._client.on_publish = self._published
        try:
            self._client.connect("127.0.0.1", port)
        except (ssl.SSLError, ConnectionError):
            self.gone.set()
            return
        self._client.loop_start()
        assert self._told.wait(10), "neither taken nor refused"
        if self.outcome != "Success":
            self._client.loop_stop()

    def say(self, topic: str, payload: str = "x") -> str:
        """The broker's word to it."""
        info = self._client.publish(topic, payload, 1)
        with self._acked:
            assert self._acked.wait_for(lambda: info.mid in self._acks, 10), f"no PUBACK for {topic}"
        return self._acks[info.mid]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.outcome = str(reason)
        self._told.set()

    def _left(self, *_: Any) -> None:
        self.gone.set()
        self._told.set()
        # Else paho's thread would try again for ever.
        self._client.disconnect()

    def _published(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._acked:
            self._acks[mid] = str(reason) if reason.is_failure else "Success"  # also without any subscriber
            self._acked.notify_all()


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    # Below pytest's directory only its owner may search; mosquitto gives up root.
    directory = Path(f"/var/tmp/identity-{os.getpid()}")
    directory.mkdir()
    try:
        box = Box(directory)
        async with box.running():
            yield box
    finally:
        shutil.rmtree(directory)


async def test_a_certificate_says_who_a_device_is_whatever_it_claims(box: Box) -> None:
    agent = Client(box.loopback, AGENT, box.gate.password(AGENT))
    gate = box.device(await box.certified("gate"), claims=AGENT)
    await box.certified("door")
    assert (gate.outcome, gate.say("devices/gate/state")) == ("Success", "Success")
    for topic in ("devices/door/state", "devices/gate/cmd/open", "devices/gate-2/state", "tenants/acme/x", COMMANDS):
        assert gate.say(topic) == "Not authorized", topic
    assert gate.say("devices/gate/cmd/open/ack") == "Success"
    assert not agent.gone.is_set(), "nobody takes the agent's session by its name"
    gate.close()
    agent.close()


async def test_who_is_revoked_is_thrown_out_at_once_and_refused_by_tls_from_then_on(box: Box) -> None:
    identity = await box.certified("gate")
    client = box.device(identity)
    assert client.outcome == "Success"
    assert await box.identities.revoke("gate", forget=False)
    assert await asyncio.to_thread(client.gone.wait, 5), "not thrown out"
    client.close()
    await until(lambda: box.device(identity).outcome == "TLS", "TLS to refuse it")
    again = box.device(await box.certified("gate", "gate-again"))
    assert (again.outcome, again.say("devices/gate/state")) == ("Success", "Success")
    assert box.device(identity).outcome == "TLS", "the old certificate stays revoked"
    again.close()


async def test_a_renewed_certificate_works_beside_the_one_before(box: Box) -> None:
    before = await box.certified("gate")
    after = await box.certified("gate", "renewed")
    for identity in (before, after):
        client = box.device(identity)
        assert client.say("devices/gate/state") == "Success"
        client.close()


async def test_without_a_good_certificate_nobody_passes_tls(box: Box, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    other = DeviceCa(tmp_path, tmp_path / "broker", system_clock())
    _, (foreign,) = await other.issue([Wish("gate", b"", 100)])
    _, (expired,) = await _in_1970(box).issue([Wish("gate", b"", 1)])
    assert box.device(None).outcome == "TLS"
    assert box.device(box.keep(foreign.der, foreign.key_der, "foreign")).outcome == "TLS"
    assert box.device(box.keep(expired.der, expired.key_der, "expired")).outcome == "TLS"
    good = box.device(await box.certified("gate"))
    assert good.outcome == "Success"
    good.close()


def _in_1970(box: Box) -> DeviceCa:
    """The same CA with a clock that makes a certificate of a day end in November 2026."""
    clock = system_clock()
    return DeviceCa(box.home, box.files.dir, type(clock)(clock.boot_id, lambda: 0, lambda: 0))


async def test_a_password_is_good_over_tls_and_on_the_box_until_the_next_one(box: Box) -> None:
    ca = box.files.dir / "ca.crt"
    first = await box.password("scale")
    for port, authority in ((box.passwords, ca), (box.loopback, None)):
        scale = Client(port, "scale", first, ca=authority, claims="edge-agent")
        assert (scale.outcome, scale.say("devices/scale/weight")) == ("Success", "Success")
        assert scale.say("devices/gate/weight") == "Not authorized"
        scale.close()
        assert Client(port, "scale", "wrong", ca=authority).outcome == "Not authorized"
        assert Client(port, "gate", first, ca=authority).outcome == "Not authorized"
        assert Client(port, ca=authority).outcome == "Not authorized"
    assert Client(box.certificates, "scale", first, ca=ca).outcome == "TLS"
    second = await box.password("scale")
    assert Client(box.passwords, "scale", first, ca=ca).outcome == "Not authorized"
    scale = Client(box.passwords, "scale", second, ca=ca)
    assert scale.outcome == "Success"
    scale.close()


async def test_who_has_a_certificate_has_no_password_and_the_other_way_round(box: Box) -> None:
    identity = await box.certified("gate")
    for secret in ("", "gate", "x"):
        assert Client(box.passwords, "gate", secret, ca=box.files.dir / "ca.crt").outcome == "Not authorized"
    await box.password("gate")
    await until(lambda: box.device(identity).outcome == "TLS", "TLS to refuse the certificate")


@pytest.mark.parametrize("algorithm", [("EC", "P-384"), ("ED25519", ""), ("RSA", "3072")])
async def test_keys_that_a_device_made_itself_get_in(box: Box, algorithm: tuple[str, str]) -> None:
    kind, size = algorithm
    option = {"EC": ["-pkeyopt", f"ec_paramgen_curve:{size}"], "RSA": ["-pkeyopt", f"rsa_keygen_bits:{size}"]}
    run = ["openssl", "req", "-new", "-newkey", kind, *option.get(kind, []), "-nodes", "-subj", "/CN=gate"]
    request, key = box.home / "gate.csr", box.home / "gate.key"
    subprocess.run([*run, "-keyout", key, "-out", request, "-outform", "DER"], check=True, capture_output=True)
    order = DeviceOrder("gate", credential=NewCredential.CSR, csr_der=request.read_bytes())
    issued = (await box.identities.put([order])).identities[0]
    (box.home / "gate.crt").write_text(pem("CERTIFICATE", issued.certificate_der))
    gate = box.device(box.home / "gate")
    assert gate.outcome == "Success"
    gate.close()
