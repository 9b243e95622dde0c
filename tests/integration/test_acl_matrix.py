"""Must-show 3: three tenants, five jobs each, and everything a job could try: each cell as the specification says.

The broker is mosquitto with the configuration that ships, and the users that agent/mqtt/access makes of the jobs'
grants. What is expected is computed by acl_oracle.py, from the grants alone.
"""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from paho.mqtt.client import MQTTMessage

from agent.mqtt import tenants
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.secret import password
from agent.spec import MqttGrant, MqttView
from tests.integration import acl_oracle as oracle
from tests.integration import raw_mqtt as raw
from tests.integration.acl_oracle import OneJob
from tests.integration.raw_mqtt import CLOSED, Raw
from tests.integration.tenant_parts import NOT_AUTHORIZED, WITNESS, TenantBroker, TenantClient, access

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
SECRET = b"m" * 32
JOBS = oracle.jobs()
NOBODY_LISTENS = 16


def view(job: OneJob) -> MqttView:
    grants = tuple(MqttGrant(g.device, g.zone, g.kind, g.channel, g.commands) for g in job.grants)
    return MqttView(job.run, job.tenant, job.job, grants)


@pytest.fixture(scope="module")
def broker() -> Iterator[TenantBroker]:
    accounts = [Account(name, zone, kind) for name, (zone, kind) in oracle.DEVICES.items()]
    one = TenantBroker()
    try:
        one.start(access(SECRET, accounts, map(view, JOBS)))
        yield one
    finally:
        one.purge()


@dataclass
class Player:
    """A job with its connection, and the topics that it has seen since `clear`."""

    job: OneJob
    client: TenantClient
    seen: Counter[str] = field(default_factory=Counter)
    fence: threading.Event = field(default_factory=threading.Event)

    def words(self, template: str) -> str:
        tenant = self.job.tenant
        return template.replace("{t}", tenant).replace("{o}", oracle.OTHER[tenant]).replace("{j}", self.job.job)


def login(job: OneJob) -> tuple[str, str]:
    return tenants.username(job.run), tenants.password(SECRET, job.tenant, job.run)


def short(topic: str) -> str:
    return topic if len(topic) < 80 else f"{topic[:40]}... ({len(topic)})"


class Board:
    """Every job at the broker, and a witness who sees and says everything. `wrong` has a line for each wrong cell."""

    def __init__(self, broker: TenantBroker) -> None:
        self.broker = broker
        self.witness = TenantClient(broker, WITNESS, WITNESS)
        self.witnessed: set[tuple[str, bytes]] = set()
        self.fence = threading.Event()
        self.witness.heard = self._heard
        self.witness.answer(self.witness.subscribe("#"))
        self.players = [self._player(job) for job in JOBS]
        self.cells = 0
        self.wrong: list[str] = []

    def _heard(self, message: MQTTMessage) -> None:
        if message.topic == "fence":
            self.fence.set()
        else:
            self.witnessed.add((message.topic, message.payload))

    def _player(self, job: OneJob) -> Player:
        player = Player(job, TenantClient(self.broker, *login(job)))
        fence = f"tenants/{job.tenant}/fence"

        def heard(message: MQTTMessage) -> None:
            if message.topic == fence:
                player.fence.set()
            else:
                player.seen[message.topic] += 1

        player.client.heard = heard
        assert player.client.answer(player.client.subscribe(fence)) == 1
        return player

    def check(self, who: str, tried: str, found: object, expected: object) -> None:
        self.cells += 1
        if found != expected:
            self.wrong.append(f"{who} {short(tried)}: {found}, not {expected}")

    def settle(self) -> None:
        """All that was said before has come to everybody: a word on the same way, behind it."""
        for player in self.players:
            player.fence.clear()
        self.fence.clear()
        for tenant in oracle.TENANTS:
            self.witness.publish(f"tenants/{tenant}/fence")
        self.witness.publish("fence")
        for player in self.players:
            assert player.fence.wait(20), player.job
        assert self.fence.wait(20)

    def close(self) -> None:
        for player in self.players:
            player.client.close()
        self.witness.close()


@pytest.fixture
def board(broker: TenantBroker) -> Iterator[Board]:
    one = Board(broker)
    yield one
    one.close()


def test_what_a_job_sees(board: Board) -> None:
    """Each subscription: taken or refused, and then exactly the granted topics, the retained ones and the live ones."""
    for topic in oracle.WORDS:
        board.witness.publish(topic, b"kept", retain=True)
    for template in oracle.SUBSCRIPTIONS:
        asked = [(player, player.words(template)) for player in board.players]
        for player, _ in asked:
            player.seen.clear()
        numbers = [player.client.subscribe(topic, identifier=7) for player, topic in asked]
        taken = [player.client.answer(number) < 128 for (player, _), number in zip(asked, numbers, strict=True)]
        board.settle()
        kept = {player.job: set(player.seen) for player, _ in asked}
        for player, _ in asked:
            player.seen.clear()
        for topic in oracle.WORDS:
            board.witness.publish(topic, b"live", retain=True)
        board.settle()
        for (player, topic), was_taken in zip(asked, taken, strict=True):
            may = oracle.subscribes(player.job, topic)
            board.check(player.job.run, f"subscribes to {topic}", was_taken, may)
            shared = topic.startswith("$share/")
            plain = topic.removeprefix(f"$share/{player.job.tenant}/")
            words = {w for w in oracle.WORDS if may and oracle.fits(plain, w) and oracle.reads(player.job, w)}
            who = player.job.run
            if not shared:
                board.check(who, f"retained of {topic}", kept[player.job], words)
                board.check(who, f"live of {topic}", set(player.seen), words)
                continue
            # mosquitto 2.0 sends retained ones to a new member too; MQTT has it that it doesn't.
            board.check(who, f"retained of {topic}", kept[player.job] <= words, True)
            board.check(who, f"share of {topic}", set(player.seen) <= words, True)
            group = [each.seen for each in board.players if each.job.tenant == player.job.tenant]
            together = sum(group, Counter[str]())
            board.check(who, f"whole of {topic}", words <= set(together) and set(together.values()) <= {1}, True)
        numbers = [player.client.unsubscribe(topic) for player, topic in asked]
        for (player, _), number in zip(asked, numbers, strict=True):
            player.client.answer(number)
    assert board.wrong == []
    assert board.cells >= len(JOBS) * 40


def test_what_a_job_says(board: Board) -> None:
    """Each publication: taken and seen by the witness, or refused and seen by nobody."""
    for retain in (False, True):
        for template in oracle.PUBLICATIONS:
            asked = [(player, player.words(template)) for player in board.players]
            payloads = [f"{player.job.run} {retain}".encode() for player, _ in asked]
            board.witnessed.clear()
            numbers = [
                player.client.publish(topic, payload, retain=retain, response=player.words("tenants/{o}/answers"))
                for (player, topic), payload in zip(asked, payloads, strict=True)
            ]
            codes = [player.client.answer(number) for (player, _), number in zip(asked, numbers, strict=True)]
            board.settle()
            for (player, topic), payload, code in zip(asked, payloads, codes, strict=True):
                may = oracle.sends(player.job, topic)
                board.check(player.job.run, f"publishes {topic}", code in (0, NOBODY_LISTENS), may)
                board.check(player.job.run, f"is refused {topic}", code == NOT_AUTHORIZED, not may)
                board.check(player.job.run, f"is heard at {topic}", (topic, payload) in board.witnessed, may)
    assert board.wrong == []
    assert board.cells >= len(JOBS) * 40


OVERLAPPING = ("tenants/{t}/#", "tenants/{o}/#", "tenants/{t}/note", "devices/temp-1/celsius")


def test_subscriptions_that_overlap_and_several_in_one_packet_are_judged_one_by_one(board: Board) -> None:
    for player in board.players:
        topics = [player.words(each) for each in OVERLAPPING]
        numbers = [player.client.subscribe(topic, identifier=at) for at, topic in enumerate(topics, 1)]
        found = [player.client.answer(number) < 128 for number in numbers]
        board.check(player.job.run, "overlapping", found, [oracle.subscribes(player.job, topic) for topic in topics])
    board.settle()
    for player in board.players:
        player.seen.clear()
    for topic in oracle.WORDS:
        board.witness.publish(topic, b"live")
    board.settle()
    for player in board.players:
        tenant = player.job.tenant
        own = {w for w in oracle.WORDS if w.startswith(f"tenants/{tenant}/")}
        temp = {"devices/temp-1/celsius"} if oracle.reads(player.job, "devices/temp-1/celsius") else set[str]()
        board.check(player.job.run, "overlapping: seen", set(player.seen), own | temp)
    assert board.wrong == []


# --- bytes that no library sends -----------------------------------------------------------------

MALFORMED: dict[str, Callable[[str], bytes]] = {
    "invalid UTF-8": lambda t: raw.publish(b"tenants/" + t.encode() + b"/\xff\xfe"),
    "overlong UTF-8": lambda t: raw.publish(b"tenants/" + t.encode() + b"/\xc0\xaf"),
    "a surrogate": lambda t: raw.publish(b"tenants/" + t.encode() + b"/\xed\xa0\x80"),
    "NUL": lambda t: raw.publish(b"tenants/" + t.encode() + b"/a\0b"),
    "NUL before another tenant": lambda t: raw.publish(b"tenants/" + t.encode() + b"\0/note"),
    "+ in a topic": lambda t: raw.publish(f"tenants/{t}/+".encode()),
    "# in a topic": lambda t: raw.publish(f"tenants/{t}/#".encode()),
    "+ for a tenant": lambda t: raw.publish(b"tenants/+/note"),
    "no topic": lambda t: raw.publish(b""),
    "alias 0": lambda t: raw.publish(f"tenants/{t}/note".encode(), alias=0),
    "an alias never said": lambda t: raw.publish(b"", alias=3),
    "alias 65535": lambda t: raw.publish(f"tenants/{t}/note".encode(), alias=65535),
    "a filter of invalid UTF-8": lambda t: raw.subscribe(b"tenants/" + t.encode() + b"/\xff"),
    "a filter with NUL": lambda t: raw.subscribe(b"tenants/" + t.encode() + b"/a\0"),
    "# in the middle": lambda t: raw.subscribe(f"tenants/{t}/#/x".encode()),
    "# beside letters": lambda t: raw.subscribe(f"tenants/{t}#".encode()),
    "+ beside letters": lambda t: raw.subscribe(f"tenants/{t}/a+".encode()),
    "an empty filter": lambda t: raw.subscribe(b""),
    "a group with a wildcard": lambda t: raw.subscribe(f"$share/+/tenants/{t}/note".encode()),
    "a share of nothing": lambda _: raw.subscribe(b"$share"),
    "a group and no filter": lambda t: raw.subscribe(f"$share/{t}".encode()),
    "a group and an empty filter": lambda t: raw.subscribe(f"$share/{t}/".encode()),
    "no group": lambda t: raw.subscribe(f"$share//tenants/{t}/note".encode()),
    "identifier 0": lambda t: raw.subscribe(f"tenants/{t}/note".encode(), identifier=0),
    "300 levels": lambda t: raw.publish(f"tenants/{t}{'/a' * 300}".encode()),
    "a filter of 300 levels": lambda t: raw.subscribe(f"tenants/{t}{'/a' * 300}".encode()),
}


@pytest.mark.parametrize("trick", MALFORMED)
def test_what_is_not_mqtt_ends_the_connection_or_is_refused_and_nobody_hears_of_it(
    broker: TenantBroker, trick: str
) -> None:
    """For every job; the broker goes on. A topic alias of its own tenant's topic may be refused, but never lies."""
    witness = TenantClient(broker, WITNESS, WITNESS)
    heard: list[str] = []
    witness.heard = lambda message: heard.append(message.topic)
    witness.answer(witness.subscribe("#"))
    witness.answer(witness.publish("fence"))
    heard.clear()
    found = {}
    for job in JOBS:
        one = Raw(broker.socket, *login(job))
        assert one.connected == 0
        found[job.run] = one.ask(MALFORMED[trick](job.tenant))
        one.vanish()
    witness.answer(witness.publish("fence"))
    deadline = time.monotonic() + 10
    while "fence" not in heard and time.monotonic() < deadline:
        time.sleep(0.002)
    witness.close()
    assert {run: code for run, code in found.items() if code != CLOSED and code < 128} == {}
    assert heard == ["fence"]


def test_an_alias_is_judged_by_the_topic_that_it_stands_for(broker: TenantBroker) -> None:
    for job in JOBS:
        one = Raw(broker.socket, *login(job))
        other = f"tenants/{oracle.OTHER[job.tenant]}/note".encode()
        assert one.ask(raw.publish(other, alias=1)) == NOT_AUTHORIZED
        assert one.ask(raw.publish(b"", alias=1)) == NOT_AUTHORIZED
        assert one.ask(raw.publish(f"tenants/{job.tenant}/note".encode(), alias=1)) in (0, NOBODY_LISTENS)
        assert one.ask(raw.publish(b"", alias=1)) in (0, NOBODY_LISTENS)
        one.vanish()


WILLS = (
    "tenants/{t}/last", "tenants/{o}/last", "devices/temp-1/celsius", "devices/gate/cmd/open", "$SYS/last",
    "$CONTROL/dynamic-security/v1", "tenants/{t}/devices/gate/cmd/open", "tenants/{t}/jobs/{j}/devices",
)  # fmt: skip


def test_a_last_will_is_said_only_where_the_job_may_speak(broker: TenantBroker) -> None:
    witness = TenantClient(broker, WITNESS, WITNESS)
    heard: list[str] = []
    witness.heard = lambda message: heard.append(message.topic)
    for filter_ in ("#", "$SYS/last"):
        witness.answer(witness.subscribe(filter_))
    wrong = []
    for job in JOBS:
        for template in WILLS:
            topic = template.format(t=job.tenant, o=oracle.OTHER[job.tenant], j=job.job)
            heard.clear()
            one = Raw(broker.socket, *login(job), will=topic.encode())
            one.vanish()
            Raw(broker.socket, *login(job)).vanish()  # takes the place of the one before: its will is said by then
            witness.answer(witness.publish("fence"))
            deadline = time.monotonic() + 10
            while "fence" not in heard and time.monotonic() < deadline:
                time.sleep(0.001)
            if (topic in heard) != oracle.sends(job, topic):
                wrong.append((job.run, topic, list(heard)))
    witness.close()
    assert wrong == []


def test_whoever_a_job_says_it_is_it_is_itself(board: Board) -> None:
    """The client id is the user's name: nobody is thrown out but the job's own other connection."""
    others = {player.job: player for player in board.players}
    agent = TenantClient(board.broker, "edge-agent", password(SECRET, "agent", "edge-agent", 0))
    assert agent.refused == 0
    for job in JOBS[:5]:
        for claimed in ("edge-agent", "edge-agent-control", WITNESS, tenants.username(JOBS[-1].run), ""):
            one = Raw(board.broker.socket, *login(job), client_id=claimed)
            assert one.connected == 0
            assert one.lives() and not agent.ended.is_set() and not board.witness.ended.is_set()
            one.vanish()
        assert others[job].client.ended.wait(10)  # its own, of before
    assert not others[JOBS[-1]].client.ended.is_set()
    agent.close()
    somebody_elses = (tenants.username(JOBS[1].run), login(JOBS[0])[1])
    for name, secret in (("edge-agent", "x"), somebody_elses, ("nobody", "x"), ("", "")):
        refused = Raw(board.broker.socket, name, secret, client_id="x")
        assert refused.connected in (134, NOT_AUTHORIZED)
        refused.vanish()


@pytest.mark.parametrize("tenant", oracle.TENANTS)
def test_the_same_with_the_distributions_own_clients(broker: TenantBroker, tenant: str) -> None:
    """mosquitto_sub and mosquitto_pub, as a job would call them."""
    job = next(each for each in JOBS if each.tenant == tenant and each.job == "meter")
    name, secret = login(job)
    words = ["--unix", str(broker.socket), "-u", name, "-P", secret, "-i", name, "-V", "5", "-q", "1"]

    def said(*argv: str) -> str:
        done = subprocess.run([argv[0], *words, *argv[1:]], capture_output=True, text=True, timeout=10)
        return done.stdout + done.stderr

    for template in (*OVERLAPPING, "#", "$SYS/#", "$share/{t}/tenants/{t}/#", "$share/{o}/tenants/{t}/#"):
        topic = template.format(t=tenant, o=oracle.OTHER[tenant])
        assert ("denied" in said("mosquitto_sub", "-t", topic, "-E")) != oracle.subscribes(job, topic), topic
    for template in ("tenants/{t}/note", "tenants/{o}/note", "devices/temp-1/celsius", "$CONTROL/dynamic-security/v1"):
        topic = template.format(t=tenant, o=oracle.OTHER[tenant])
        refused = "Not authorized" in said("mosquitto_pub", "-t", topic, "-m", "x", "-d")
        assert refused != oracle.sends(job, topic), topic
