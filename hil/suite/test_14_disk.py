"""The disk with all that the agent keeps fails or fills up: it says so, jobs go on, and no device's message is lost."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hil.board import COMMAND_SECONDS, journal_since, now, until
from hil.central import Central
from hil.data_disk import STATE, DataDisk
from hil.faults import AGENT, job
from hil.feed import Feed
from hil.journal import text
from hil.publisher import Publisher
from hil.strategy import Status
from hil.suite.conftest import NODE
from hil.suite.test_4_jobs import DESIRED

# paho leaves the socket of a broken connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
PER_SECOND = 2.0
TLS_PASSWORD_PORT = 8884
CA = "/var/lib/edge-broker/ca.crt"
COMPLAINT = "messages can't be stored, the broker keeps them"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def made(board: Any, env: Any) -> Iterator[DataDisk]:
    board.transition(Status.ENROLLED)
    disk = DataDisk(board, Path(env.config.data["options"]["qmp_socket"]))
    disk.attach()
    yield disk
    disk.detach()


@pytest.fixture
def state_disk(enrolled: Any, made: DataDisk) -> DataDisk:  # noqa: ARG001
    return made


@pytest.fixture
def feed(state_disk: DataDisk, central: Central) -> Iterator[Feed]:  # noqa: ARG001
    made = Feed(central, NODE)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def publishers(board: Any, enrolled: Any, feed: Feed, central: Central, tmp_path: Path) -> Iterator[list[Publisher]]:
    """New ones for each test, and each heard by central already."""
    until(lambda: feed.connected, "the agent to be connected", 180)
    enrolled.get(CA, str(tmp_path / "ca.crt"))
    names, address = [f"scale-{next(_NUMBERS)}" for _ in range(2)], board.reach(TLS_PASSWORD_PORT)
    made = [Publisher(name, central.password(NODE, name), "grams", address, tmp_path / "ca.crt") for name in names]
    for each in made:
        each.start(PER_SECOND)
    until(lambda: {device for device, _ in feed.messages} >= set(names), "each device at central", 180)
    yield made
    for each in made:
        each.close()


@pytest.fixture
def keeper(state_disk: DataDisk, enrolled: Any, central: Central) -> dict[str, Any]:  # noqa: ARG001
    central.apply(NODE, DESIRED)
    until(lambda: job(enrolled, "keeper").get("state") == "JOB_STATE_RUNNING", "the service to run", 180)
    return job(enrolled, "keeper")


def complains(ssh: Any, since: str) -> bool:
    return any(text(entry) == COMPLAINT for entry in journal_since(ssh, since))


def doctor(ssh: Any) -> list[str]:
    """Its lines that are not "ok"."""
    lines = ssh.run("edge-agent doctor", timeout=COMMAND_SECONDS)[0]
    return [line for line in lines if line.startswith(("fail", "warn"))]


def go_on(publishers: list[Publisher], more: int) -> None:
    """Until the broker has taken so many more of each."""
    before = [len(each.acknowledged) for each in publishers]
    until(
        lambda: all(len(each.acknowledged) >= n + more for each, n in zip(publishers, before, strict=True)),
        f"{more} more acknowledgements for each device",
        120,
    )


def all_arrives(publishers: list[Publisher], feed: Feed) -> None:
    """Also what was acknowledged while the disk was away; each once."""
    for each in publishers:
        each.stop()
    until(lambda: not any(each.waiting for each in publishers), "everything to be acknowledged", 180)
    sent = {(each.name, number) for each in publishers for number in each.acknowledged}
    until(lambda: sent <= set(feed.messages), "all that was acknowledged", 240)
    assert [what for what in sent if feed.messages[what] > 1] == []


@pytest.mark.lg_feature("virtual")
def test_a_full_disk_stops_nothing_and_is_told(
    enrolled: Any,
    state_disk: DataDisk,  # noqa: ARG001
    keeper: dict[str, Any],
    publishers: list[Publisher],
    feed: Feed,
    injected: Callable[[str], None],
) -> None:
    before = enrolled.run_check(f"systemctl show -P MainPID {AGENT}")
    since = now(enrolled)
    enrolled.run(f"fallocate -l $(df --output=avail -B1 {STATE} | tail -n 1) {STATE}/filler")
    enrolled.run(f"dd if=/dev/zero of={STATE}/filler2 bs=4096 status=none")
    injected("the disk is filled to the last block")
    until(lambda: complains(enrolled, since), "the agent to say so", 120)
    assert [line for line in doctor(enrolled) if line.startswith("fail  disk")] != []
    go_on(publishers, 10)
    enrolled.run_check(f"test -d /proc/{keeper['pid']}")
    enrolled.run_check(f"rm {STATE}/filler {STATE}/filler2")
    injected("there is room again")
    all_arrives(publishers, feed)
    assert enrolled.run_check(f"systemctl show -P MainPID {AGENT}") == before
    after = job(enrolled, "keeper")
    assert (after["state"], after["pid"]) == ("JOB_STATE_RUNNING", keeper["pid"])


@pytest.mark.lg_feature("virtual")
def test_reads_that_fail_for_a_while_cost_nothing(
    enrolled: Any,
    state_disk: DataDisk,
    keeper: dict[str, Any],
    publishers: list[Publisher],
    feed: Feed,
    injected: Callable[[str], None],
) -> None:
    with state_disk.failing("read"):
        injected("reads fail, and nothing is cached")
        enrolled.run_check("echo 3 >/proc/sys/vm/drop_caches")
        go_on(publishers, 20)
        enrolled.run_check(f"test -d /proc/{keeper['pid']}")
    injected("reads don't fail any more")
    until(lambda: feed.connected, "the agent to be connected", 180)
    all_arrives(publishers, feed)
    after = job(enrolled, "keeper")
    assert (after["state"], after["pid"]) == ("JOB_STATE_RUNNING", keeper["pid"])


@pytest.mark.lg_feature("virtual")
@pytest.mark.expects("edge-agent.service")
def test_writes_that_fail_cost_nothing_once_the_disk_is_mended(
    enrolled: Any,
    state_disk: DataDisk,
    keeper: dict[str, Any],
    publishers: list[Publisher],
    feed: Feed,
    injected: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    since = now(enrolled)
    with state_disk.failing("write", "flush"):
        injected("writes fail")
        until(lambda: complains(enrolled, since), "the agent to say so", 180)
        go_on(publishers, 20)
        told = doctor(enrolled)
        record_property("doctor", told)
        enrolled.run_check(f"test -d /proc/{keeper['pid']}")
        assert enrolled.run(f"systemctl is-active {AGENT}")[0] in (["active"], ["activating"])
    injected("writes don't fail any more; the file system is checked and mounted again")
    state_disk.mend()
    until(lambda: feed.connected, "the agent to be connected", 180)
    all_arrives(publishers, feed)
    after = job(enrolled, "keeper")
    assert (after["state"], after["pid"], after["attempt"]) == (
        "JOB_STATE_RUNNING",
        keeper["pid"],
        keeper["attempt"],
    )
    assert [line for line in told if line.startswith("fail")] != []
