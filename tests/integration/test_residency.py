"""What a rule keeps in the store is in no byte that leaves it, nor in any file of what is to leave.

The uplink is tapped with central's own key and the node's (tests/tap.py). That the search would find a mark is shown
with marks that may leave, and again once the rule is gone.
"""

import base64
import json
import random
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.broker_files import Account
from tests.stack import NODE, STORE, Stack, until
from tests.tap import ALPHABET, Tap, messages, traces

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(180)]
TARGET = f"{STORE}/{NODE}"


class Store:
    """A stack with a tap in its uplink, one device, and marks."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.stack.start_central()
        self.stack.start_launcher()
        self.stack.enrol()
        self.tap = Tap(
            self.stack.dir / "central", self.stack.state_dir / "identity" / "current", self.stack.control_port
        )
        # The node dials the wire's port, which was told at enrolment; behind it is now the tap.
        self.stack.wire._target = ("127.0.0.1", self.tap.port)
        self.stack.start_broker()
        self.stack.start_agent()
        self._random = random.Random()  # a mark of an earlier run must not be found
        self.new_marks()
        self.device = self.stack.device("vault-1")

    def new_marks(self) -> None:
        self.channel, self.secret, self.open = self.mark(), self.mark(), list[str]()

    def mark(self) -> str:
        return "".join(self._random.choices(ALPHABET, k=24))

    def apply(self, text: str) -> None:
        """Returns when the node has applied it."""
        file = self.stack.dir / "rules.toml"
        file.write_text(text)
        done = json.loads(self.stack.edgectl("apply", str(file), "--node", TARGET, "--json"))["applied"][0]
        until(lambda: self._applied() >= int(done["revision"]), what="the rules to be applied")

    def _applied(self) -> int:
        (node,) = self.stack.edgectl_json("nodes")["nodes"]
        return int(node.get("applied_revision", 0))

    def publish(self, channel: str, payload: str, *words: str) -> None:
        _mosquitto(self.device, self.stack.mqtt_port, "-t", f"devices/vault-1/{channel}", "-m", payload, *words)

    def publish_secrets(self, *words: str) -> None:
        """On the topic that stays, with the mark in everything that a message carries; then on one that may leave."""
        secret = self.secret
        self.publish(
            f"{self.channel}/a", f'{{"v": "{secret}"}}', *words,
            "-D", "publish", "user-property", secret, secret,
            "-D", "publish", "user-property", "idempotency-key", secret,
            "-D", "publish", "content-type", secret,
            "-D", "publish", "correlation-data", secret,
            "-D", "publish", "response-topic", f"devices/vault-1/{secret}",
        )  # fmt: skip
        self.open.append(self.mark())
        self.publish("open", self.open[-1])

    def die_with_a_will(self) -> None:
        """Its last will is on the topic that stays."""
        sub = subprocess.Popen(
            ["stdbuf", "-oL", "mosquitto_sub", "-V", "5", "-d", "-p", str(self.stack.mqtt_port), *self.device.words,
             "-t", "devices/vault-1/cmd/+", "-q", "1", "--will-topic", f"devices/vault-1/{self.channel}/will",
             "--will-payload", self.secret, "--will-qos", "1", "--will-retain"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert sub.stdout is not None
        while "SUBACK" not in sub.stdout.readline():
            assert sub.poll() is None
        sub.send_signal(signal.SIGKILL)
        sub.communicate()

    def listed(self) -> str:
        """What the node tells an operator of the device."""
        return self.stack.edgectl("devices", TARGET, "--device", "vault-1", "--json")

    def arrived(self) -> list[str]:
        """Payloads that central has, in order."""
        found = self.stack.edgectl("messages", TARGET, "--json")
        return [_text(each["payload"]) for each in json.loads(found)["messages"]]

    def await_open(self) -> None:
        until(lambda: set(self.open) <= set(self.arrived()), what="what may leave to have left")

    def pieces_up(self) -> list[bytes]:
        return [piece for connection in self.tap.up for piece in messages(bytes(connection))]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """All that the agent and central have written, and what the processes said."""
        agent, central = self.stack.state_dir, self.stack.dir / "central"
        for root in (agent, central, self.stack.logs):
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink() and "mosquitto" not in path.name:
                    yield str(path.relative_to(self.stack.dir)), path.read_bytes()


def _mosquitto(device: Account, port: int, *words: str) -> None:
    subprocess.run(
        ["mosquitto_pub", "-V", "5", "-q", "1", "-p", str(port), *device.words, *words], check=True, timeout=20
    )


def _text(payload: str) -> str:
    """Of show.plain's payload: text, or base64 of what is none."""
    try:
        return base64.b64decode(payload, validate=True).decode()
    except ValueError:
        return payload


@pytest.fixture(scope="module")
def shared() -> Iterator[Store]:
    stack = Stack()
    try:
        made = Store(stack)
        try:
            yield made
        finally:
            made.tap.close()
    finally:
        stack.close()


@pytest.fixture
def store(shared: Store) -> Store:
    shared.new_marks()
    return shared


def test_what_stays_in_the_store_is_in_no_byte_that_leaves(store: Store) -> None:
    stays = f'[[rule]]\nfilter = "devices/+/{store.channel}/#"\nresidency = "store"\n'
    store.apply(stays)
    store.publish_secrets()
    store.publish_secrets("-r")
    store.die_with_a_will()
    store.await_open()
    (device,) = json.loads(store.listed())["devices"]
    assert int(device["messages"]) >= 2 * len(store.open)  # it was counted, and not told of
    store.stack.wire.cut()
    store.publish_secrets()
    store.publish_secrets("-r", "-q", "2")
    store.stack.parts["agent"].kill()
    store.publish_secrets("-r")
    store.stack.start_agent()
    store.die_with_a_will()
    store.publish_secrets()
    store.stack.wire.mend()
    store.await_open()
    listed = store.listed()
    assert "vault-1" in listed
    store.stack.parts["agent"].stop()
    held = dict(store.files())
    for mark in (store.secret, store.channel):
        assert traces(listed.encode(), mark) == []
        assert [found for piece in store.pieces_up() if (found := traces(piece, mark))] == []
    assert any(name.startswith("agent/spool.db") for name in held)
    assert {name: found for name, data in held.items() if (found := traces(data, store.secret))} == {}
    # The rule itself names the channel: central's database and the node's desired state have it.
    named = {name for name, data in held.items() if traces(data, store.channel)}
    assert [name for name in sorted(named) if "central.db" not in name and "desired.pb" not in name] == []
    # And it would have been seen.
    assert all(any(traces(piece, mark) for piece in store.pieces_up()) for mark in store.open)
    store.stack.start_agent()
    store.apply("")
    store.publish(f"{store.channel}/a", store.secret)
    until(lambda: store.secret in store.arrived(), what="what no rule keeps any more")
    assert any(traces(piece, store.secret) for piece in store.pieces_up())
    assert any(traces(piece, store.channel) for piece in store.pieces_up())


def test_what_was_held_does_not_leave_once_a_rule_keeps_it_in(store: Store) -> None:
    hold = f'[[rule]]\nfilter = "devices/+/{store.channel}/#"\nbatch = "1h"\n'
    store.apply(hold)
    store.publish_secrets()
    store.await_open()
    assert store.secret not in store.arrived()
    assert traces((store.stack.state_dir / "held.db-wal").read_bytes(), store.secret)
    store.apply(hold.replace('batch = "1h"', 'residency = "store"'))
    store.publish_secrets()
    store.await_open()
    assert [found for piece in store.pieces_up() if (found := traces(piece, store.secret))] == []
