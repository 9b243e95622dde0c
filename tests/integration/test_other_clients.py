"""Clients that nobody here wrote, against a whole store: what they publish is at central once, the rest is refused.

mosquitto's own tools, mqtt.js, Eclipse Paho's in C, aiomqtt; each by the ways in that it has.
"""

import contextlib
import csv
import json
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.broker_files import Account, Certificate
from tests.stack import NODE, STORE, USER, Stack, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]
TARGET = f"{STORE}/{NODE}"

# With a password on loopback, with one over TLS, with a certificate.
WAYS = {"plain": "password", "tls": "password", "cert": "key"}
CLIENTS = ("mosquitto", "js", "paho-c", "aio")

# A device that does what it reads: [topic, payload, options of mqtt.js' publish]. Of a refused message mqtt.js 4.3.7
# says that it was refused, and then that it was taken: the first counts.
DEVICE_JS = """
const fs = require('fs'), job = JSON.parse(process.argv[1])
const say = (word, what) => console.log(JSON.stringify([word, what]))
for (const file of ['ca', 'cert', 'key']) if (job[file]) job[file] = fs.readFileSync(job[file])
const client = require('mqtt').connect(job.url, { protocolVersion: 5, reconnectPeriod: 100, clean: false,
  properties: { sessionExpiryInterval: 600 }, ...job })
client.on('connect', packet => say('connected', packet.reasonCode))
client.on('reconnect', () => say('again', ''))
client.on('error', error => say('error', error.message))
client.on('message', (topic, payload, packet) => client.publish(packet.properties.responseTopic, 'done ' + payload,
  { qos: 1, properties: { correlationData: packet.properties.correlationData } }))
if (job.hears) client.subscribe(job.hears, { qos: 1 }, (error, granted) => say('granted', granted[0].qos))
require('readline').createInterface({ input: process.stdin }).on('line', line => {
  const [topic, payload, options] = JSON.parse(line)
  const properties = options.properties
  if (properties?.correlationData) properties.correlationData = Buffer.from(properties.correlationData)
  let told = false
  client.publish(topic, payload, options, error => {
    if (!told) say(error ? 'refused' : 'taken', error ? error.message : payload)
    told = true
  })
})
"""


class Shop:
    """A store with a device for each client and way in."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self._marks = stack, 0
        listed, out = stack.dir / "list.csv", stack.dir / "handed"
        devices = {f"{client}-{way}": kind for client in CLIENTS for way, kind in WAYS.items()}
        rows = (f"{device},{kind}\n" for device, kind in ({"mark": "password"} | devices).items())
        listed.write_text("id,credential\n" + "".join(rows))
        out.mkdir()
        shutil.chown(out, USER)
        stack.agent_cli("device", "import", str(listed), "--out", str(out))
        self._out = out
        self.passwords = {
            row["id"]: row["password"] for row in csv.DictReader((out / "devices.csv").read_text().splitlines())
        }
        self.ca = out / "ca.crt"

    def account(self, device: str) -> Account:
        return Account(device, self.passwords[device])

    def certificate(self, device: str) -> Certificate:
        port = self.stack.broker.ports.certificates
        return Certificate(device, port, self._out / f"{device}.crt", self._out / f"{device}.key", self.ca)

    def words(self, device: str) -> list[str]:
        """Where, and as whom: of mosquitto's tools."""
        if device.endswith("cert"):
            return ["-h", "localhost", *self.certificate(device).words]
        account = self.account(device)
        who = ["-u", account.username, "-P", account.password]
        ports = self.stack.broker.ports
        if device.endswith("tls"):
            return ["-h", "localhost", "-p", str(ports.passwords), "--cafile", str(self.ca), *who]
        return ["-p", str(ports.plain), *who]

    def at_central(self) -> list[dict[str, Any]]:
        """All that is there, once what is sent now has come too: what came before it is there, also a second time."""
        self._marks += 1
        mark = f"mark {self._marks}"
        say("mosquitto_pub", *self.words("mark"), "-V", "5", "-q", "1", "-t", "devices/mark/mark", "-m", mark)
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = self.stack.edgectl_json("messages", TARGET)["messages"]
            return any(message["payload"] == mark for message in found)

        until(is_there, what=f"{mark} at central")
        return found

    def of(self, device: str, channel: str) -> list[dict[str, Any]]:
        return [each for each in self.at_central() if each["topic"] == f"devices/{device}/{channel}"]

    def offline(self, device: str) -> int:
        events = self.stack.edgectl_json("events", TARGET)["events"]
        return sum(event["kind"] == "device.offline" and device in json.dumps(event) for event in events)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with running() as stack:
        yield Shop(stack)


def say(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)


class Script:
    """mqtt.js, told what to publish line by line."""

    def __init__(self, shop: Shop, device: str, **more: object) -> None:
        ports = shop.stack.broker.ports
        if device.endswith("cert"):
            own = shop.certificate(device)
            who = {"url": f"mqtts://localhost:{ports.certificates}", "cert": str(own.certificate), "key": str(own.key)}
        else:
            where = (
                f"mqtt://127.0.0.1:{ports.plain}"
                if device.endswith("plain")
                else f"mqtts://localhost:{ports.passwords}"
            )
            who = {"url": where, "username": device, "password": shop.passwords[device]}
        job = {**who, "ca": str(shop.ca), "clientId": device, **more}
        self.process = subprocess.Popen(
            ["node", "-e", DEVICE_JS, json.dumps(job)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", env={"NODE_PATH": "/usr/share/nodejs"},
        )  # fmt: skip

    def publish(self, topic: str, payload: str, **options: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([topic, payload, options]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> tuple[str, Any]:
        assert self.process.stdout is not None
        word, what = json.loads(self.process.stdout.readline())
        return word, what

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def script(shop: Shop, device: str, **more: object) -> Generator[Script]:
    made = Script(shop, device, **more)
    try:
        assert made.hear() == ("connected", 0)
        yield made
    finally:
        made.close()


def told(messages: Iterable[dict[str, Any]]) -> list[str]:
    return [message["payload"] for message in messages]


# --- mosquitto's own -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_mosquitto_pub_of_any_version_and_qos_is_heard_once(shop: Shop, way: str) -> None:
    device = f"mosquitto-{way}"
    sent = [(version, qos) for version in ("mqttv31", "mqttv311", "mqttv5") for qos in (0, 1, 2)]
    for version, qos in sent:
        done = say(
            "mosquitto_pub", *shop.words(device), "-V", version, "-q", str(qos), "-t", f"devices/{device}/v",
            "-m", f"{version} {qos}",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    found = shop.of(device, "v")
    assert sorted((each["payload"], each["qos"]) for each in found) == sorted((f"{v} {q}", q) for v, q in sent)


def test_what_mqtt_5_says_of_a_message_goes_with_it(shop: Shop) -> None:
    properties = (
        ("content-type", "text/plain"), ("user-property", "unit", "Cel"), ("user-property", "unit", "K"),
        ("correlation-data", "c-1"), ("response-topic", "devices/mosquitto-cert/answers"),
        ("message-expiry-interval", "600"), ("payload-format-indicator", "1"),
    )  # fmt: skip
    words = [word for each in properties for word in ("-D", "publish", *each)]
    where = shop.words("mosquitto-cert")
    say("mosquitto_pub", *where, "-V", "5", "-q", "2", "-t", "devices/mosquitto-cert/p", "-m", "4.2", *words)
    (found,) = shop.of("mosquitto-cert", "p")
    assert (found["payload"], found["content_type"], found["correlation_data"]) == ("4.2", "text/plain", "c-1")
    assert [(each["key"], each["value"]) for each in found["user_properties"]] == [("unit", "Cel"), ("unit", "K")]
    assert "answers" not in json.dumps(found)


@pytest.mark.parametrize("way", WAYS)
def test_mosquittos_tools_get_no_further_than_their_own_topics(shop: Shop, way: str) -> None:
    device = f"mosquitto-{way}"
    where, other = shop.words(device), "aio-tls"
    theirs = f"devices/{other}/t", f"devices/{device}/cmd/open", "$SYS/broker/x", "tenants/acme/x", "elsewhere"
    for topic in (*theirs, "$CONTROL/dynamic-security/v1"):
        done = say("mosquitto_pub", *where, "-V", "5", "-q", "1", "-t", topic, "-m", "taken over")
        assert "Not authorized" in done.stderr, topic
        say("mosquitto_pub", *where, "-V", "mqttv311", "-q", "1", "-t", topic, "-m", "taken over")
    for heard in ("#", "$SYS/#", "devices/+/t", f"devices/{other}/cmd/+", f"$share/g/devices/{other}/#"):
        done = say("mosquitto_sub", *where, "-V", "5", "-W", "5", "-t", heard)
        assert "All subscription requests were denied" in done.stderr, heard
    assert "taken over" not in told(shop.at_central())


def test_another_devices_client_id_is_of_no_use(shop: Shop) -> None:
    victim = "aio-plain"
    words = ("-V", "5", "-d", "-t", f"devices/{victim}/cmd/+")
    hearing = subprocess.Popen(
        ["stdbuf", "-oL", "mosquitto_sub", *shop.words(victim), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert hearing.stdout is not None
        assert any("SUBACK" in line for line in hearing.stdout)
        for way in WAYS:
            own = f"mosquitto-{way}"
            say_so = ("mosquitto_pub", *shop.words(own), "-i", victim, "-V", "5", "-q", "1", "-m", "me", "-t")
            assert "Not authorized" in say(*say_so, f"devices/{victim}/i").stderr
            assert say(*say_so, f"devices/{own}/i").stderr == ""
            assert told(shop.of(own, "i")) == ["me"]
        assert not shop.of(victim, "i")
    finally:
        hearing.kill()
        rest, _ = hearing.communicate(timeout=10)
    assert "CONNECT" not in rest  # nor DISCONNECT: nobody took its session over


def test_no_proof_no_entry(shop: Shop) -> None:
    ports = shop.stack.broker.ports
    wrong = ["-u", "mosquitto-plain", "-P", "wrong"]
    over_tls = ["-h", "localhost", "--cafile", str(shop.ca)]
    for words in (
        ["-p", str(ports.plain)],
        ["-p", str(ports.plain), *wrong],
        ["-p", str(ports.plain), "-u", "mosquitto-cert", "-P", ""],
        [*over_tls, "-p", str(ports.passwords), *wrong],
        [*over_tls, "-p", str(ports.certificates), "-u", "mosquitto-tls", "-P", shop.passwords["mosquitto-tls"]],
    ):
        done = say("mosquitto_pub", *words, "-V", "5", "-q", "1", "-t", "devices/mosquitto-plain/t", "-m", "let me in")
        assert done.returncode != 0, words
    assert "let me in" not in told(shop.at_central())


def test_a_retained_message_stays_one_over_restarts(shop: Shop) -> None:
    device = "mosquitto-tls"
    say("mosquitto_pub", *shop.words(device), "-V", "5", "-q", "1", "-r", "-t", f"devices/{device}/r", "-m", "kept")
    assert told(shop.of(device, "r")) == ["kept"]
    shop.stack.parts["agent"].kill()
    shop.stack.start_agent()
    assert told(shop.of(device, "r")) == ["kept"]
    shop.stack.parts["mosquitto"].stop()
    shop.stack.start_broker()
    until(lambda: shop.stack.parts["mosquitto"].alive(), what="the broker")
    assert told(shop.of(device, "r")) == ["kept"]


# --- mqtt.js -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_mqtt_js_is_heard_once_and_refused_what_is_not_its_own(shop: Shop, way: str) -> None:
    device = f"js-{way}"
    more = {"contentType": "application/json", "userProperties": {"unit": "Cel"}, "correlationData": "c-2"}
    with script(shop, device, clientId="aio-plain") as client:
        for qos in (0, 1, 2):
            client.publish(f"devices/{device}/q", f"{qos}", qos=qos, properties=more)
            assert client.hear() == ("taken", f"{qos}")
        for topic in ("devices/aio-tls/q", "$SYS/broker/x"):
            client.publish(topic, "taken over", qos=1)
            word, why = client.hear()
            assert (word, "Not authorized" in why) == ("refused", True)
    found = shop.of(device, "q")
    assert sorted(told(found)) == ["0", "1", "2"]
    for each in found:
        assert (each["content_type"], each["correlation_data"]) == ("application/json", "c-2")
        assert [(one["key"], one["value"]) for one in each["user_properties"]] == [("unit", "Cel")]


def test_mqtt_js_answers_a_command_and_its_last_will_says_that_it_is_gone(shop: Shop) -> None:
    device = "js-cert"
    will = {"topic": f"devices/{device}/status", "payload": "offline", "qos": 1}
    with script(shop, device, will=will, hears=f"devices/{device}/cmd/+") as client:
        assert client.hear() == ("granted", 1)
        client.publish(f"devices/{device}/status", "online", qos=1)
        assert client.hear() == ("taken", "online")
        assert "done 3" in shop.stack.agent_cli("device", "command", device, "open", "3")
        assert shop.offline(device) == 0
        client.process.kill()
        until(lambda: shop.offline(device) == 1, what="device.offline at central")
    assert told(shop.of(device, "status")) == ["online", "offline"]


def test_mqtt_js_outlives_a_killed_broker_and_all_is_there_once(shop: Shop) -> None:
    """What it sends again is known by its key: else it would be a message of its own.

    With QoS 1: what mosquitto has answered with PUBREC it loses when it is killed, and then says PUBCOMP all the same.
    """
    device, broker = "js-tls", shop.stack.parts["mosquitto"]
    broker.process.send_signal(signal.SIGUSR1)  # write sessions now, not at the next autosave
    sent = [f"n{number}" for number in range(600)]
    with script(shop, device) as client:
        publish = partial(client.publish, f"devices/{device}/n", qos=1)
        for payload in sent[:400]:
            publish(payload, properties={"userProperties": {"idempotency-key": payload}})
        heard = [client.hear() for _ in range(100)]
        broker.kill()
        for payload in sent[400:]:
            publish(payload, properties={"userProperties": {"idempotency-key": payload}})
        shop.stack.start_broker()
        while sum(word == "taken" for word, _ in heard) < len(sent):
            heard.append(client.hear())
    assert ("again", "") in heard
    assert sorted(told(shop.of(device, "n"))) == sorted(sent)


# --- Paho in C -----------------------------------------------------------------------------------


def paho_c(shop: Shop, device: str, topic: str, payload: str, *more: str) -> "subprocess.CompletedProcess[str]":
    ports = shop.stack.broker.ports
    if device.endswith("cert"):
        own = shop.certificate(device)
        who = ["-c", f"ssl://localhost:{ports.certificates}", "--cert", str(own.certificate), "--key", str(own.key)]
    else:
        scheme, port = ("tcp", ports.plain) if device.endswith("plain") else ("ssl", ports.passwords)
        who = ["-c", f"{scheme}://localhost:{port}", "-u", device, "-P", shop.passwords[device]]
    trust = [] if device.endswith("plain") else ["--cafile", str(shop.ca)]
    return say("paho_c_pub", "-t", topic, "-m", payload, *who, *trust, *more)


@pytest.mark.parametrize("way", WAYS)
def test_paho_in_c_is_heard_once_and_refused_what_is_not_its_own(shop: Shop, way: str) -> None:
    device = f"paho-c-{way}"
    five = ("-V", "5", "--message-expiry", "600", "--user-property", "unit", "Cel")
    ways = (("1", "-V", "311"), *((qos, *five) for qos in "012"))
    for qos, *words in ways:
        said = f"{words[1]} {qos}"
        done = paho_c(shop, device, f"devices/{device}/q", said, "-q", qos, "-i", "aio-tls", *words)
        assert done.returncode == 0, done
    # With QoS 1 and MQTT 5 it waits for ever for the word of a broker that has refused.
    for refused in (("-q", "2", "-V", "311"), ("-q", "0", "-V", "5")):
        paho_c(shop, device, "devices/aio-tls/q", "taken over", *refused)
    found = {each["payload"]: each["user_properties"] for each in shop.of(device, "q")}
    assert {text: [(one["key"], one["value"]) for one in said] for text, said in found.items()} == {
        "311 1": [],
        **{f"5 {qos}": [("unit", "Cel")] for qos in "012"},
    }
    assert "taken over" not in told(shop.at_central())


def test_what_expires_while_the_link_is_down_is_not_sent_up(shop: Shop) -> None:
    device = "paho-c-cert"
    shop.stack.wire.cut()
    for payload, seconds in (("late", "1"), ("in time", "600")):
        paho_c(shop, device, f"devices/{device}/e", payload, "-q", "1", "-V", "5", "--message-expiry", seconds)
    subprocess.run(["sleep", "1.2"], check=True)  # the second that it is wanted for
    shop.stack.wire.mend()
    assert told(shop.of(device, "e")) == ["in time"]
    gaps = shop.stack.edgectl_json("messages", TARGET)["gaps"]
    assert [(gap["count"], gap["reason"]) for gap in gaps] == [(1, "expired")]


# --- aiomqtt -------------------------------------------------------------------------------------


def tls(shop: Shop, way: str) -> ssl.SSLContext | None:
    if way == "plain":
        return None
    context = ssl.create_default_context(cafile=str(shop.ca))
    if way == "cert":
        own = shop.certificate("aio-cert")
        context.load_cert_chain(own.certificate, own.key)
    return context


@pytest.mark.parametrize("way", WAYS)
async def test_aiomqtt_is_heard_once_and_refused_what_is_not_its_own(shop: Shop, way: str) -> None:
    device, ports = f"aio-{way}", shop.stack.broker.ports
    properties: Callable[[int], Properties] = Properties  # its constructor has no annotations
    said = properties(PacketTypes.PUBLISH)
    said.ContentType, said.UserProperty = "text/plain", [("unit", "Cel")]
    port = {"plain": ports.plain, "tls": ports.passwords, "cert": ports.certificates}[way]
    async with aiomqtt.Client(
        "localhost",
        port,
        username=None if way == "cert" else device,
        password=shop.passwords[device] or None,
        identifier="mosquitto-plain",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=tls(shop, way),
    ) as client:
        for qos in (0, 1, 2):
            await client.publish(f"devices/{device}/q", f"{qos}", qos=qos, properties=said)
        await client.publish("devices/mosquitto-plain/q", "taken over", qos=1)
        granted = await client.subscribe(("devices/#"), qos=1)
        assert [str(each) for each in granted] == ["Not authorized"]
    found = shop.at_central()
    own = [each for each in found if each["topic"] == f"devices/{device}/q"]
    assert [(each["payload"], each["qos"], each["content_type"]) for each in own] == [
        (f"{qos}", qos, "text/plain") for qos in (0, 1, 2)
    ]
    assert "taken over" not in told(found)
