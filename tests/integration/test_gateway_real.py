"""The HTTPS door as it is shipped: a process of nobody's, with a whole store behind it."""

import base64
import grp
import http.client
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.broker_files import Account, free_port
from tests.stack import BIN, NODE, STORE, UNIT_ENVIRONMENT, Stack, running, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(120)]
TARGET = f"{STORE}/{NODE}"

# The unit's DynamicUser= and SupplementaryGroups=; here agent.toml is anybody's to read.
NOBODY = (
    "setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=mosquitto", "--no-new-privs",
    "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
)  # fmt: skip


class Door:
    def __init__(self, stack: Stack) -> None:
        self.stack, self.port = stack, free_port()
        with stack.config.open("a") as config:
            config.write(f'[gateway]\nlisten = "127.0.0.1:{self.port}"\n')
        agent = (str(BIN / "edge-agent"), "--config", str(stack.config))
        self.part = stack.start("gateway", [*NOBODY, "env", *UNIT_ENVIRONMENT, *agent, "gateway"], notify=True)
        self.scale = stack.device("scale")
        self.tls = ssl.create_default_context(cafile=str(stack.broker.dir / "ca.crt"))

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, timeout=20, context=self.tls)

    def post(
        self, channel: str, payload: str = "1", *, who: Account | None = None, said: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and Retry-After of the answer."""
        client, account = self.connect(), who or self.scale
        secret = base64.b64encode(f"{account.username}:{account.password}".encode()).decode()
        try:
            client.request("POST", f"/devices/{channel}", payload, {"Authorization": f"Basic {secret}", **(said or {})})
            answer = client.getresponse()
            answer.read()
            return answer.status, answer.getheader("Retry-After") or ""
        finally:
            client.close()

    def at_central(self, channel: str) -> list[dict[str, Any]]:
        """Once what is posted now is there too."""
        mark = f"{time.monotonic_ns()}"
        assert self.post("scale/mark", mark) == (204, "")
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = self.stack.edgectl_json("messages", TARGET)["messages"]
            return any(each["payload"] == mark for each in found)

        until(is_there, what="the mark at central")
        return [each for each in found if each["topic"] == f"devices/{channel}"]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with running() as stack:
        made = Door(stack)
        try:
            yield made
        finally:
            made.part.stop()


def test_what_is_posted_is_at_central_once_for_each_key(door: Door) -> None:
    said = {"Content-Type": "application/json", "Idempotency-Key": "k-1"}
    for _ in range(2):
        assert door.post("scale/weight", '{"kg": 3}', said=said) == (204, "")
    (found,) = door.at_central("scale/weight")
    assert (found["payload"], found["content_type"]) == ('{"kg": 3}', "application/json")
    assert (found["idempotency_key"], found["qos"]) == ("k-1", 1)


def test_who_it_is_and_what_it_may_is_the_brokers_word(door: Door) -> None:
    other = door.stack.device("till")
    assert door.post("scale/x", who=Account("scale", other.password))[0] == 401
    assert door.post("nobody/x", who=Account("nobody", "guess"))[0] == 401
    assert door.post("till/x")[0] == 403
    assert door.post("scale/cmd/open")[0] == 403
    assert door.post("till/x", who=other)[0] == 204
    door.stack.agent_cli("device", "revoke", "till")
    assert door.post("till/x", who=other)[0] == 401
    assert len(door.at_central("till/x")) == 1


def test_many_posts_of_one_device_at_once_are_all_taken(door: Door) -> None:
    """A client id is its user's at the broker: one exchange may not throw out the other."""
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(partial(door.post, "scale/many"), [f"{number}" for number in range(48)]))
    assert set(told) == {(204, "")}
    assert sorted(int(each["payload"]) for each in door.at_central("scale/many")) == list(range(48))


def test_while_the_broker_is_away_the_device_is_told_to_come_again(door: Door) -> None:
    door.stack.parts["mosquitto"].stop()
    assert door.post("scale/away", "1") == (503, "5")
    door.stack.start_broker()
    assert door.post("scale/away", "2") == (204, "")
    assert [each["payload"] for each in door.at_central("scale/away")] == ["2"]


def test_a_renewed_certificate_is_shown_to_who_comes_next(door: Door) -> None:
    file = door.stack.broker.dir / "server.crt"
    before = shown(door)
    file.unlink()
    door.stack.agent_cli("broker", "prepare")
    until(lambda: shown(door) != before, what="the new certificate")
    assert ssl.DER_cert_to_PEM_cert(shown(door)) in file.read_text()


def test_it_is_nobody_with_one_group_and_no_way_to_the_agents_files(door: Door) -> None:
    status = Path(f"/proc/{door.part.pid}/status").read_text()
    facts = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
    assert "0" not in facts["Uid"] + facts["Gid"]
    assert facts["Groups"] == [str(grp.getgrnam("mosquitto").gr_gid)]
    assert {facts[name][0] for name in facts if name.startswith("Cap")} == {"0" * 16}
    opened = {str(each.readlink()) for each in Path(f"/proc/{door.part.pid}/fd").iterdir()}
    assert not [path for path in opened if path.startswith(str(door.stack.state_dir))]


def test_it_ends_at_once_though_a_device_holds_its_connection(door: Door) -> None:
    client = door.connect()
    client.request("POST", "/nowhere")
    assert client.getresponse().read()
    assert door.part.stop(5) == 0
    client.close()


def shown(door: Door) -> bytes:
    """In a new handshake."""
    client = door.connect()
    client.connect()
    try:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""
    finally:
        client.close()
