"""Agent, broker and central are killed at random while fifty devices publish; `./dev faults`: 60 times in 300 s.

What the broker acknowledged to a device must be at central, once, in the order of its topic: told by content.
"""

import contextlib
import csv
import json
import os
import random
import subprocess
import threading
import time
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from central.cli import client
from central.cli.errors import CliError
from storeedge.v1.operator_pb2 import QueryRecordsRequest
from storeedge.v1.record_pb2 import Record
from storeedge.v1.types_pb2 import RECORD_CLASS_DEVICE
from tests.faults.mqtt.fleet import Device, Fleet
from tests.stack import NODE, STORE, USER, Part, Stack, StackError, until

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.timeout(3600)]

SECONDS = float(os.environ.get("EDGE_FAULT_SECONDS", "8"))
KILLS = int(os.environ.get("EDGE_FAULT_KILLS", str(round(SECONDS / 5))))
SEED = int(os.environ.get("EDGE_SEED", "20261123"))
DEVICES, RATE = 50, 500.0
FULL_SECONDS = float(os.environ.get("EDGE_FAULT_FULL_SECONDS", str(max(3.0, SECONDS / 10))))
STATE_MIB = 96
SYSCTL = Path(__file__).parents[3] / "systemd/sysctl.conf"
VICTIMS = ("agent", "mosquitto", "central")


@dataclass
class Supervised:
    """Starts a part again as soon as it is gone, as its unit does."""

    stack: Stack
    name: str
    start: Callable[[], Part]
    kills: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, name=f"supervise-{self.name}", daemon=True)
        self._thread.start()

    def there(self) -> bool:
        return self.stack.parts[self.name].alive()  # of the newest process of that name

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.stack.parts[self.name].pid, 9)
            self.kills += 1

    def end(self) -> None:
        self.ended.set()
        self._thread.join(60)

    def _watch(self) -> None:
        while not self.ended.wait(0.02):
            if not self.there():
                with contextlib.suppress(StackError, subprocess.SubprocessError):  # killed while it started: again
                    self.start()


@dataclass
class World:
    stack: Stack
    fleet: Fleet
    supervised: dict[str, Supervised]
    chance: random.Random


@pytest.fixture
def sysctl() -> Iterator[None]:
    """What systemd/sysctl.conf sets on a store's box: how much the kernel may hold for the agent."""
    name, _, value = SYSCTL.read_text().splitlines()[-1].partition("=")
    path = Path("/proc/sys", *name.strip().split("."))
    before = path.read_text()
    path.write_text(str(max(int(before), int(value))))
    yield
    path.write_text(before)


@pytest.fixture
def world(sysctl: None) -> Iterator[World]:
    with ExitStack() as exits:
        stack = Stack()
        exits.callback(stack.close)
        # A disk of its own that can be filled without filling this machine's.
        options = f"size={STATE_MIB}m,mode=750,uid={USER},gid={USER}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", stack.state_dir], check=True)
        exits.callback(subprocess.run, ["umount", "-l", stack.state_dir], check=True)
        stack.up()
        passwords = register(stack, [f"device-{n:02}" for n in range(DEVICES)])
        devices = [Device(name, stack.mqtt_port, name, each, RATE / DEVICES) for name, each in passwords.items()]
        fleet = Fleet(devices)
        exits.callback(fleet.close)
        starts = {"agent": stack.start_agent, "mosquitto": stack.start_broker, "central": stack.start_central}
        supervised = {name: Supervised(stack, name, starts[name]) for name in VICTIMS}
        for one in supervised.values():
            exits.callback(one.end)
        yield World(stack, fleet, supervised, random.Random(SEED))


def register(stack: Stack, names: Sequence[str]) -> dict[str, str]:
    """Name -> password."""
    rows = stack.dir / "devices.csv"
    rows.write_text("id,credential\n" + "".join(f"{name},password\n" for name in names))
    told = csv.DictReader(stack.agent_cli("device", "import", str(rows)).splitlines())
    return {line["id"]: line["password"] for line in told}


def test_nothing_acknowledged_is_missing_nothing_comes_twice_and_each_topic_is_in_order(world: World) -> None:
    world.fleet.start()
    kill_at_random(world, SECONDS, KILLS)
    reckon(world)
    assert sum(one.kills for one in world.supervised.values()) == KILLS


def test_the_same_with_the_spools_disk_full_in_the_middle(world: World) -> None:
    world.fleet.start()
    third = (SECONDS - FULL_SECONDS) / 2
    kill_at_random(world, third, KILLS // 3)
    ballast = world.stack.state_dir / "ballast"
    fill(ballast, world)
    kill_at_random(world, FULL_SECONDS, KILLS // 3)
    ballast.unlink()
    kill_at_random(world, third, KILLS - 2 * (KILLS // 3))
    reckon(world)


def kill_at_random(world: World, seconds: float, kills: int) -> None:
    """`kills` moments, each anywhere in `seconds`, each with any victim: two may well fall together."""
    began = time.monotonic()
    for moment in sorted(world.chance.uniform(0, seconds) for _ in range(kills)):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        victim = world.supervised[world.chance.choice(VICTIMS)]
        until(victim.there, what=f"{victim.name} to be there to be killed")
        victim.kill()
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def fill(ballast: "os.PathLike[str]", world: World) -> None:
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):  # noqa: PTH123  until ENOSPC
        while True:
            file.write(bytes(1 << 16))
    assert os.statvfs(world.stack.state_dir).f_bavail == 0


def reckon(world: World) -> None:
    """Stop publishing, let everything arrive, and compare."""
    fleet = world.fleet
    fleet.pause()
    until(fleet.settled, what="the broker to acknowledge what was published", seconds=120)
    owed = {(device.name, n) for device in fleet.devices for n in device.acknowledged}
    held: list[tuple[str, str, int]] = []

    def arrived() -> bool:
        with contextlib.suppress(CliError):  # central is still starting
            held[:] = received(world.stack)
        return owed <= {(device, n) for device, _, n in held}

    with contextlib.suppress(StackError):
        until(arrived, what="everything to be at central", seconds=60)
    times = Counter((device, n) for device, _, n in held)
    by_topic: dict[str, list[int]] = defaultdict(list)
    for _, topic, n in held:
        by_topic[topic].append(n)
    missing = sorted(owed - times.keys())
    twice = sorted(key for key, count in times.items() if count > 1)
    unordered = sorted(topic for topic, numbers in by_topic.items() if numbers != sorted(numbers))
    kills = {name: one.kills for name, one in world.supervised.items()}
    print(  # noqa: T201  the figures that `./dev faults` is run for
        f"kills {kills}, published {fleet.total(lambda d: d.sent)}, acknowledged {len(owed)},"
        f" refused {fleet.total(lambda d: d.refused)}, at central {len(held)}, missing {len(missing)},"
        f" twice {len(twice)}, topics out of order {len(unordered)}"
    )
    assert fleet.total(lambda d: d.refused) == 0
    assert len(owed) > SECONDS * RATE / 2
    assert (missing, twice, unordered) == ([], [], [])


def received(stack: Stack) -> list[tuple[str, str, int]]:
    """(device, topic, n) of every device message that central holds, in the order in which it stored them."""
    found: list[tuple[str, str, int]] = []
    arguments = Namespace(dir=stack.dir / "central", central=f"127.0.0.1:{stack.control_port}")
    with client.operator(arguments) as central:
        cursor, more = 0, True
        while more:
            asked = QueryRecordsRequest(
                node=client.node_ref(f"{STORE}/{NODE}"), record_class=RECORD_CLASS_DEVICE, after_id=cursor, limit=1000
            )
            page = central.QueryRecords(asked, timeout=30).records
            found += [read(stored.record) for stored in page if stored.record.HasField("device")]
            more = len(page) == 1000
            cursor = page[-1].id if page else cursor
    return found


def read(record: Record) -> tuple[str, str, int]:
    body = json.loads(record.device.payload)
    return body["device"], record.device.topic, body["n"]
