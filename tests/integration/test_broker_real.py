"""The broker as it is shipped, and the agent that owns who may do what there: it comes right again by itself."""

import asyncio
import json
import random
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import paho.mqtt.client as paho
import pytest

from agent.clock import system_clock
from agent.config.schema import MqttConfig
from agent.model import Credential, DeviceProtocol
from agent.mqtt.access import lockout, seed
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.policy import Access
from agent.mqtt.access.secret import load_or_make
from agent.mqtt.commands.down import ANSWERS
from agent.mqtt.control import Control
from agent.mqtt.gate import Gate
from agent.mqtt.users import AGENT, COMMANDS, CONTROL, RETAINED, STORE
from agent.mqtt.wire.delivery import Delivery
from agent.spec import MqttGrant, MqttView
from tests.broker_files import BrokerFiles
from tests.integration.mqtt_parts import until

pytestmark = [pytest.mark.integration, pytest.mark.root]

NOT_AUTHORIZED = 135
SCALE = Account("scale", credential=Credential.PASSWORD, password_generation=1, zone="deli")
DOOR = Account("door", credential=Credential.PASSWORD, password_generation=2)
EDGE = Account("edge", credential=Credential.PASSWORD, protocol=DeviceProtocol.SPARKPLUG, group="hall")
BRIDGE = Account("bridge", credential=Credential.PASSWORD, protocol=DeviceProtocol.ZIGBEE2MQTT)
SEALED = Account("sealed", credential=Credential.CERTIFICATE, certificate_serial="1")


class Shop:
    """A broker, and the part of the agent that says who may come in."""

    def __init__(self, home: Path, run_dir: Path) -> None:
        self.home = home
        self.files = BrokerFiles(home / "broker", run_dir / "broker", owner="root")
        self.gate = Gate(load_or_make(home), home, self.files.dir, self._record, system_clock(), lambda _: False)
        config = MqttConfig(port=self.files.ports.plain)

        def connection(user: str) -> Control:
            return Control(config, user, self.gate.password(user), system_clock(), random.random)

        self.control, self.commands = connection(CONTROL), connection(COMMANDS)
        self.gate.attach(self.control, self.commands, lambda: connection(RETAINED))
        self.answers = 0
        self.commands.subscribe(ANSWERS, self._count)
        self._broker: subprocess.Popen[bytes] | None = None
        self.clients: list[Client] = []

    async def _record(self, _: object) -> None:
        pass

    def _count(self, _: Delivery) -> None:
        self.answers += 1

    @property
    def secret(self) -> bytes:
        return load_or_make(self.home)

    def access(self) -> Access:
        return self.gate._wanted()

    async def start(self, document: bytes | None = None) -> None:
        """From `document`, or as systemd does: from what the agent knows of devices, with no run."""
        known = Access(self.secret, {each.id: each for each in self.gate.accounts.all()}, {}, None)
        self.files.install(seed.document(known) if document is None else document)
        with (self.home / "log").open("ab") as log:
            self._broker = subprocess.Popen(self.files.argv, stdout=log, stderr=log)
        await until(self.files.listens, f"mosquitto to listen: {(self.home / 'log').read_text()}")
        self.files.open_socket()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._broker is not None:
            self._broker.send_signal(number)
            self._broker.wait(20)
            self._broker = None

    def password(self, name: str) -> str:
        user = self.access().user(name)
        assert user is not None
        return user.password

    async def client(self, name: str, password: str | None = None) -> "Client":
        client = Client(name, self.password(name) if password is None else password, self.files.ports.plain)
        self.clients.append(client)
        await until(lambda: client.answered, f"{name} to be answered")
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.end()


class Client:
    """paho, MQTT 5; what it was told is in `codes` and `heard`."""

    def __init__(self, name: str, password: str, port: int) -> None:
        self.code: int | None = None
        self.heard: list[tuple[str, bytes]] = []
        self.gone = False
        self._codes: dict[tuple[str, int], int] = {}
        self._paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="chosen", protocol=paho.MQTTv5)
        self._paho.username_pw_set(name, password)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_message = lambda _c, _u, message: self.heard.append((message.topic, message.payload))
        self._paho.on_publish = lambda _c, _u, mid, code, _p: self._codes.update({("publish", mid): code.value})
        self._paho.on_subscribe = lambda _c, _u, mid, codes, _p: self._codes.update(
            {("subscribe", mid): codes[0].value}
        )
        self._paho.connect("127.0.0.1", port)
        self._paho.loop_start()

    @property
    def answered(self) -> bool:
        return self.code is not None

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        self.code = code.value
        if code.is_failure:
            self._paho.disconnect()

    def _on_disconnect(self, *_: Any) -> None:
        self.gone = True
        self._paho.disconnect()

    async def publish(self, topic: str, payload: bytes = b"1") -> int:
        mid = self._paho.publish(topic, payload, 1).mid
        await until(lambda: ("publish", mid) in self._codes or self.gone, f"an answer to {topic}")
        return self._codes.get(("publish", mid), -1)

    async def subscribe(self, filter_: str) -> int:
        mid = self._paho.subscribe(filter_, 1)[1]
        assert mid is not None
        await until(lambda: ("subscribe", mid) in self._codes or self.gone, f"an answer to {filter_}")
        return self._codes.get(("subscribe", mid), -1)

    def close(self) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    home, run_dir = Path(mkdtemp(prefix="edge-broker-", dir="/var/tmp")), Path(mkdtemp(prefix="edge-", dir="/run"))
    for directory in (home, run_dir):
        directory.chmod(0o711)
    shop = Shop(home, run_dir)
    await shop.gate.open()
    await shop.gate.identities.ensure_ca()
    await shop.gate.accounts.put([SCALE, DOOR, EDGE, BRIDGE, SEALED])
    shop.gate.views.tell(frozenset())
    await shop.start()
    try:
        async with asyncio.TaskGroup() as group:
            works = (shop.control.run(), shop.commands.run(), shop.gate.run())
            running = [group.create_task(work) for work in works]
            await until(lambda: shop.control.connected and shop.commands.connected, "the agent to be let in")
            await shop.gate.apply_access()
            yield shop
            for task in running:
                task.cancel()
    finally:
        shop.close()
        await shop.gate.close()
        shutil.rmtree(home)
        shutil.rmtree(run_dir)


def state(shop: Shop) -> dict[str, Any]:
    """What the broker has, without what is another each time; nothing while it writes."""
    try:
        kept = json.loads(shop.files.state.read_bytes())
    except ValueError:
        return {}
    clients = {c["username"]: (c.get("textdescription"), c["roles"], c.get("disabled", False)) for c in kept["clients"]}
    roles = {r["rolename"]: sorted(json.dumps(acl, sort_keys=True) for acl in r["acls"]) for r in kept["roles"]}
    return {"clients": clients, "roles": roles, "groups": kept["groups"], "default": kept["defaultACLAccess"]}


def by_hand(shop: Shop, *words: str) -> None:
    """As somebody who has root does, with the agent's own password."""
    login = ["-u", CONTROL, "-P", shop.gate.password(CONTROL), "-i", "hand"]
    argv = ["mosquitto_ctrl", "-p", str(shop.files.ports.plain), *login, "dynsec", *words]
    subprocess.run(argv, check=True, capture_output=True, timeout=20)


async def test_the_broker_starts_from_the_seed_and_the_agent_finds_nothing_to_mend(shop: Shop) -> None:
    before = shop.files.state.stat().st_mtime_ns
    await shop.gate.apply_access()
    shop.gate._dynsec._known = None  # type: ignore[union-attr]
    await shop.gate.apply_access()
    assert shop.files.state.stat().st_mtime_ns == before


async def test_each_device_says_what_is_its_own_and_hears_what_is_said_to_it(shop: Shop) -> None:
    scale, edge, bridge = await shop.client("scale"), await shop.client("edge"), await shop.client("bridge")
    said = {
        "devices/scale/weight": 0, "devices/scale/a/b/c": 0, "devices/scale/status": 0, "devices/scale/cmd/tare/ack": 0,
        "devices/scale/cmd/tare": NOT_AUTHORIZED, "devices/scale/cmd": NOT_AUTHORIZED,
        "devices/scale/cmd/a/b": NOT_AUTHORIZED, "devices/door/weight": NOT_AUTHORIZED, "devices": NOT_AUTHORIZED,
        "devices/scalex/a": NOT_AUTHORIZED, "tenants/a/b": NOT_AUTHORIZED, "zigbee2mqtt/x": NOT_AUTHORIZED,
        "$CONTROL/dynamic-security/v1": NOT_AUTHORIZED,
    }  # fmt: skip
    assert {
        topic: min(code, 135) if code != 16 else 0 for topic in said for code in [await scale.publish(topic)]
    } == said
    assert [await edge.publish(f"spBv1.0/hall/{kind}") for kind in ("NDATA/edge", "DBIRTH/edge/lamp")] in (
        [0, 0],
        [16, 16],
    )
    for topic in ("spBv1.0/hall/NDATA/other", "spBv1.0/yard/NDATA/edge", "spBv1.0/hall/NCMD/edge", "devices/edge/a"):
        assert await edge.publish(topic) == NOT_AUTHORIZED, topic
    assert await bridge.publish("zigbee2mqtt/lamp") in (0, 16)
    assert await bridge.publish("homeassistant/light/lamp/config") in (0, 16)
    assert await bridge.publish("zigbee2mqtt/lamp/set") == NOT_AUTHORIZED
    heard = {
        "devices/scale/cmd/+": 1, "devices/scale/cmd/tare": 1, "devices/scale/cmd/#": 135, "devices/scale/#": 135,
        "devices/+/cmd/+": 135, "#": 135, "+/+/+/+": 135, "$SYS/#": 135, "$share/a/devices/scale/cmd/+": 135,
    }  # fmt: skip
    assert {filter_: await scale.subscribe(filter_) for filter_ in heard} == heard
    assert await edge.subscribe("spBv1.0/hall/NCMD/edge/#") == await edge.subscribe("spBv1.0/STATE/+") == 1


async def test_the_stores_tools_see_what_devices_say_and_say_nothing(shop: Shop) -> None:
    store, scale = await shop.client(STORE), await shop.client("scale")
    assert await store.subscribe("devices/#") == 1
    assert await store.subscribe("#") == await store.subscribe("tenants/#") == NOT_AUTHORIZED
    assert await store.publish("devices/scale/weight") == NOT_AUTHORIZED
    assert await scale.publish("devices/scale/weight", b"7") == 0
    await until(lambda: ("devices/scale/weight", b"7") in store.heard, "what the scale says")


@pytest.mark.parametrize("password", ["", "wrong", "certificate"])
async def test_a_device_with_a_certificate_has_no_password_that_would_do(shop: Shop, password: str) -> None:
    assert (await shop.client("sealed", password)).code == NOT_AUTHORIZED


async def test_nobody_takes_over_the_session_of_somebody_else_by_its_client_id(shop: Shop) -> None:
    door = await shop.client("door")
    scale = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="door", protocol=paho.MQTTv5)
    scale.username_pw_set("scale", shop.password("scale"))
    scale.connect("127.0.0.1", shop.files.ports.plain)
    scale.loop_start()
    await until(scale.is_connected, "the scale to be let in")
    assert await door.publish("devices/door/open") in (0, 16)
    assert not door.gone
    scale.disconnect()
    scale.loop_stop()


async def test_what_is_revoked_is_out_at_once_and_stays_out(shop: Shop) -> None:
    door = await shop.client("door")
    old = shop.password("door")
    await shop.gate.identities.revoke("door", forget=False)
    await until(lambda: door.gone, "the door to be thrown out")
    assert (await shop.client("door", old)).code == NOT_AUTHORIZED
    assert "door" not in state(shop)["clients"] and "door" not in state(shop)["roles"]


async def test_a_device_that_floods_the_agent_is_thrown_out_all_the_same(shop: Shop) -> None:
    old = shop.password("door")
    lines = subprocess.Popen(["yes", "x" * 20], stdout=subprocess.PIPE)
    words = ["-V", "5", "-p", str(shop.files.ports.plain), "-u", "door", "-P", old, "-i", "door", "-l", "-q", "0"]
    flood = subprocess.Popen(
        ["mosquitto_pub", *words, "-t", "devices/door/cmd/open/ack"],
        stdin=lines.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: shop.answers > 2000, "the flood to come")
        assert await shop.gate.identities.revoke("door", forget=False), "in force while it floods"
        assert (await shop.client("door", old)).code == NOT_AUTHORIZED
    finally:
        for process in (flood, lines):
            process.kill()
            process.communicate()


async def test_a_run_has_what_it_was_granted_from_when_it_is_told_of_until_it_is_not(shop: Shop) -> None:
    view = MqttView("t.j.1", "t", "j", (MqttGrant(zone="deli", channel="weight"),))
    shop.gate.views.tell(frozenset({view}))
    await shop.gate.apply_access()
    job, scale = await shop.client("job:t.j.1"), await shop.client("scale")
    assert await job.subscribe("$share/t/devices/scale/weight") == 1
    assert await job.subscribe("$share/u/devices/scale/weight") == await job.subscribe("devices/door/open") == 135
    assert await scale.publish("devices/scale/weight", b"3") == 0
    await until(lambda: ("devices/scale/weight", b"3") in job.heard, "the weight")
    shop.gate.views.tell(frozenset())
    await shop.gate.apply_access()
    await until(lambda: job.gone, "the run to be thrown out")
    assert not any(name.startswith("job:") for name in (*state(shop)["clients"], *state(shop)["roles"]))


@pytest.mark.parametrize(
    "words",
    [
        ("createClient", "guest", "-p", "secret"),
        ("deleteClient", "scale"),
        ("disableClient", "scale"),
        ("addClientRole", "scale", "door"),
        ("createRole", "everything"),
        ("addRoleACL", "scale", "subscribePattern", "#", "allow", "99"),
        ("removeRoleACL", "scale", "publishClientSend", "devices/scale/#"),
        ("deleteRole", "scale"),
        ("createGroup", "people"),
        ("setDefaultACLAccess", "subscribe", "allow"),
    ],
    ids=lambda words: words[0],
)
async def test_what_is_changed_by_hand_goes_back(shop: Shop, words: tuple[str, ...]) -> None:
    before, written = state(shop), shop.files.state.stat().st_mtime_ns
    by_hand(shop, *words)
    assert shop.files.state.stat().st_mtime_ns != written
    # It took the agent's name and so its connection, which looks at everything when it is back.
    await until(lambda: state(shop) == before, "the broker to be as before")


async def test_a_broker_that_does_not_know_the_agent_any_more_is_to_start_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockout, "_PATIENCE_SECONDS", 0.5)
    wanted, word = state(shop), shop.files.dir / "restart"
    by_hand(shop, "deleteClient", CONTROL)
    await until(word.exists, "word to start the broker again")
    shop.end()
    await shop.start()
    await until(lambda: shop.control.connected and state(shop) == wanted, "the broker to be as before")
    assert not shop.control.refused


async def test_a_broker_that_starts_with_an_old_state_is_brought_up_to_date(shop: Shop) -> None:
    wanted = state(shop)
    shop.end(signal.SIGKILL)
    strangers = {"gone": Account("gone", credential=Credential.PASSWORD), "scale": SCALE, "door": DOOR}
    await shop.start(seed.document(Access(shop.secret, strangers, {}, frozenset())))
    await until(lambda: state(shop) == wanted, "the broker to be up to date")


@pytest.mark.parametrize("kept", [None, b"", b"{", b"[]"], ids=["lost", "empty", "cut", "nonsense"])
async def test_a_state_that_is_lost_or_broken_is_made_anew_at_the_next_start(shop: Shop, kept: bytes | None) -> None:
    wanted = state(shop)
    shop.end(signal.SIGKILL)
    if kept is None:
        shop.files.state.unlink()
    else:
        shop.files.state.write_bytes(kept)
    await shop.start()
    await until(lambda: shop.control.connected, "the agent to be let in")
    await shop.gate.apply_access()
    await until(lambda: state(shop) == wanted, "the broker to be as before")


@asynccontextmanager
async def session(shop: Shop, heard: list[bytes]) -> AsyncIterator[None]:
    """The agent's own: it stays when it is left."""
    ready: list[object] = []
    agent = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=AGENT, protocol=paho.MQTTv311, clean_session=False)
    agent.username_pw_set(AGENT, shop.gate.password(AGENT))
    agent.on_connect = lambda *_: agent.subscribe("devices/#", 1)
    agent.on_subscribe = lambda *words: ready.append(words)
    agent.on_message = lambda _c, _u, message: heard.append(message.payload)
    agent.connect("127.0.0.1", shop.files.ports.plain)
    agent.loop_start()
    await until(lambda: bool(ready), "the agent's subscription")
    yield
    agent.disconnect()
    agent.loop_stop()


async def test_what_comes_while_the_agent_is_away_waits_for_it_over_a_restart_of_the_broker(shop: Shop) -> None:
    """A session of before the restart is checked against the rules of the new state."""
    heard: list[bytes] = []
    async with session(shop, heard):
        pass
    shop.end()
    await shop.start()
    scale = await shop.client("scale")
    assert await scale.publish("devices/scale/weight", b"while away") == 0
    async with session(shop, heard):
        await until(lambda: heard == [b"while away"], "what was said while the agent was away")
