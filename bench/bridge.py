"""From a device to where its messages are kept: backlog, live, and how long one takes, beside two other bridges.

Publishers are mosquitto_pub, QoS 1, 200 bytes. A backlog grows while its sink (agent, second broker, Node.js) is held
by SIGSTOP; the time from SIGCONT until the last message has arrived counts.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import bridges
from bench.bridges import Bridge, Node, Ours, Way
from bench.table import Row, publish
from storeedge.v1.control_pb2 import Batch
from tests.stack import Stack, until

ROUNDS = 3
MESSAGES = 100_000
DEVICES = ("bench-1", "bench-2", "bench-3", "bench-4")
PACED = "bench-paced"
PAYLOAD_BYTES = 200
PACED_PER_SECOND, PACED_SECONDS = 1000, 8
_POLL_SECONDS = 0.005

Samples = dict[str, list[float]]


def publisher(way: Way, device: str, stdin: int) -> "subprocess.Popen[bytes]":
    where = ["-h", "127.0.0.1", "-p", str(way.port), "-t", f"devices/{device}/value", *way.login(device)]
    return subprocess.Popen(["mosquitto_pub", "-q", "1", "-l", *where], stdin=stdin)


def flood(way: Way, lines: Path) -> list["subprocess.Popen[bytes]"]:
    found = list["subprocess.Popen[bytes]"]()
    for device in DEVICES:
        with lines.open("rb") as file:
            found.append(publisher(way, device, file.fileno()))
    return found


def published(publishers: Sequence["subprocess.Popen[bytes]"]) -> None:
    for each in publishers:
        assert each.wait(120) == 0


@contextmanager
def held(pid: int) -> Generator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def arrival(way: Way, goal: int) -> None:
    end = time.monotonic() + 120
    while way.arrived() < goal:
        if time.monotonic() > end:
            raise TimeoutError(f"{way.name}: {way.arrived() - goal} of {MESSAGES} are missing")
        time.sleep(_POLL_SECONDS)


def backlog(way: Way, lines: Path, into: Samples) -> None:
    before = way.arrived()
    with held(way.sink):
        published(flood(way, lines))
        before = min(before, way.arrived())
        cpu = way.cpu()
        begin = time.monotonic()
    arrival(way, before + MESSAGES)
    note(way, "backlog", time.monotonic() - begin, cpu, into)


def live(way: Way, lines: Path, into: Samples) -> None:
    before, cpu, begin = way.arrived(), way.cpu(), time.monotonic()
    published(flood(way, lines))
    arrival(way, before + MESSAGES)
    note(way, "live", time.monotonic() - begin, cpu, into)


def note(way: Way, what: str, seconds: float, cpu: Mapping[str, float], into: Samples) -> None:
    scale = 100_000 / MESSAGES
    into.setdefault(f"{way.name} {what}", []).append(seconds * scale)
    for name, now in way.cpu().items():
        into.setdefault(f"{way.name} {what} CPU {name}", []).append((now - cpu[name]) * scale)


# --- how long one takes ----------------------------------------------------------------------------------------


def pace(way: Way) -> None:
    """Lines at a steady rate, each with the nanosecond at which it was written."""
    read, write = os.pipe()
    process = publisher(way, PACED, read)
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as pipe:
        begin = time.monotonic()
        for number in range(PACED_PER_SECOND * PACED_SECONDS):
            if (early := begin + number / PACED_PER_SECOND - time.monotonic()) > 0:
                time.sleep(early)
            pipe.write(f"{time.time_ns()} ".ljust(PAYLOAD_BYTES, "x").encode() + b"\n")
    published([process])


_BEHIND = "SELECT last_id, body FROM device_run WHERE last_id > ? ORDER BY last_id"


def paced_to_central(way: Ours) -> list[float]:
    """ms until central's database shows a record, which is after its commit was synced. Looked at every 0.5 ms."""
    found: list[tuple[int, int]] = []
    total = PACED_PER_SECOND * PACED_SECONDS
    seen = _newest(way.database)

    def watch() -> None:
        database, last = sqlite3.connect(way.file, uri=True), seen
        while len(found) < total:
            runs = database.execute(_BEHIND, (last,)).fetchall()
            now = time.time_ns()
            records = [record for _, body in runs for record in Batch.FromString(body).records]
            found.extend((now, int(record.device.payload.split(b" ", 1)[0])) for record in records)
            last = runs[-1][0] if runs else last
            time.sleep(0.0005)
        database.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    pace(way)
    watcher.join(60)
    return [(now - sent) / 1e6 for now, sent in found]


def _newest(database: sqlite3.Connection) -> int:
    (number,) = database.execute("SELECT coalesce(max(last_id), 0) FROM device_run").fetchone()
    return int(number)


def paced_over_bridge(way: Bridge, lines: Path) -> list[float]:
    """ms until mosquitto_sub at the second broker has it; it writes down when."""
    total = PACED_PER_SECOND * PACED_SECONDS
    argv = [
        "mosquitto_sub",
        "-p",
        str(way.end),
        "-q",
        "1",
        "-t",
        f"devices/{PACED}/value",
        "-F",
        "%U %p",
        "-C",
        str(total),
    ]
    with lines.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out)
        time.sleep(0.5)  # it says nothing when it has subscribed
        pace(way)
        assert process.wait(60) == 0
    samples = list[float]()
    for line in lines.read_text().splitlines():
        seconds, sent, _ = line.split(" ", 2)
        whole, _, fraction = seconds.partition(".")
        samples.append((int(whole) * 10**9 + int(fraction.ljust(9, "0")) - int(sent)) / 1e6)
    return samples


def percentile(samples: Sequence[float], share: float) -> float:
    return sorted(samples)[int(len(samples) * share)]


# --- what comes of it -------------------------------------------------------------------------------------------


def rows(found: Samples, peers: Sequence[str]) -> list[Row]:
    def seconds(what: str, peer: str, goal: float | None) -> Row:
        return Row(
            f"{what}, 100,000 messages", "s", found[f"ours {what}"], peer, found[f"{peer} {what}"], goal_ratio=goal
        )

    def cpu(what: str, name: str) -> list[float]:
        return found[f"{name} {what}"]

    bridge, node = Bridge.name, Node.name
    table = [seconds("backlog", bridge, 0.5), seconds("live", bridge, 1.0)]
    if node in peers:
        table += [seconds("backlog", node, 0.5), seconds("live", node, None)]
    for what in ("backlog", "live"):
        goal = 0.6 if what == "backlog" else None
        one = Row(
            f"{what}, CPU of agent", "s", cpu(f"{what} CPU agent", "ours"), "broker that bridges",
            cpu(f"{what} CPU first", bridge), goal_ratio=goal,
        )  # fmt: skip
        table += [one, Row(f"{what}, CPU of all", "s", whole(found, "ours", what), bridge, whole(found, bridge, what))]
        for name in ("mosquitto", "central"):
            table.append(
                Row(f"{what}, CPU of {name}", "s", cpu(f"{what} CPU {name}", "ours"), "second broker",
                    cpu(f"{what} CPU second", bridge))
            )  # fmt: skip
        if node in peers:
            table.append(
                Row(f"{what}, CPU of agent", "s", cpu(f"{what} CPU agent", "ours"), node, cpu(f"{what} CPU node", node))
            )
    p50, p99 = (f"{name} at {PACED_PER_SECOND}/s" for name in ("p50", "p99"))
    table.append(Row(p50, "ms", found[f"ours {p50}"], bridge, found[f"{bridge} {p50}"]))
    table.append(Row(p99, "ms", found[f"ours {p99}"], bridge, found[f"{bridge} {p99}"], goal_ratio=1.0))
    table.append(Row(p99, "ms", found[f"ours {p99}"], bridge, found[f"{bridge} {p99}"], goal=15.0))
    return table


def whole(found: Samples, name: str, what: str) -> list[float]:
    """CPU of every process of a way, by round."""
    parts = [samples for key, samples in found.items() if key.startswith(f"{name} {what} CPU ")]
    return [sum(each) for each in zip(*parts, strict=True)]


def measure(ways: Sequence[Way], directory: Path) -> Samples:
    found: Samples = {}
    lines = directory / "lines"
    lines.write_text(
        "".join(f"{number:08}".ljust(PAYLOAD_BYTES, "x") + "\n" for number in range(MESSAGES // len(DEVICES)))
    )
    for _ in range(ROUNDS):  # in turns, so that a noisy moment hits all of them
        for way in ways:
            backlog(way, lines, found)
        for way in ways:
            live(way, lines, found)
        for way in ways:
            if isinstance(way, Ours):
                took = paced_to_central(way)
            elif isinstance(way, Bridge):
                took = paced_over_bridge(way, directory / "paced")
            else:
                continue
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                found.setdefault(f"{way.name} {name} at {PACED_PER_SECOND}/s", []).append(percentile(took, share))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.bridge", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with ExitStack() as stack:
        directory = bridges.directory()
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        store = Stack()
        stack.callback(store.close)
        store.up()
        until(lambda: store.edgectl_json("nodes")["nodes"][0].get("connected"), what="the session")
        bridge = Bridge(directory)
        stack.callback(bridge.close)
        ways: list[Way] = [Ours(store, [*DEVICES, PACED]), bridge]
        if modules := bridges.mqtt_js(Path(sys.prefix).parent / "bench-mqtt-js"):
            node = Node(directory, modules)
            stack.callback(node.close)
            ways.append(node)
        found = measure(ways, directory)
    return 0 if publish("bridge", rows(found, [way.name for way in ways]), args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
