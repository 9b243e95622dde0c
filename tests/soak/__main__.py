"""./dev soak [--hours H]: a whole store on this machine lives for hours, and what grows is told by a slope.

Processes, files and cgroups are sampled; the first quarter is warm-up. Ends with 1 when something grows by more than
its bound, when something acknowledged is missing at central, or when a part died.
"""

import argparse
import json
import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults.mqtt.test_lossless import received
from tests.soak import life, slope, vitals
from tests.stack import Stack, running, until

PARTS = ("agent", "launcher", "mosquitto", "central")
SAMPLE_SECONDS = 10.0
# The most that may be added in an hour. Central's disk isn't judged: it keeps all that it is told.
BOUNDS = {"rss MB": 1.0, "pss MB": 1.0, "open files": 0.5, "threads": 0.5, "disk MB": 5.0, "cgroups": 0.5}
UNJUDGED = {("central", "disk MB")}
Key = tuple[str, str]  # part, what


def sample(stack: Stack) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for part in PARTS:
        for what, value in vitals.of_process(stack.parts[part].pid).items():
            found[part, what] = value
    for part, directory in (
        ("agent", stack.state_dir),
        ("launcher", stack.dir / "launcher"),
        ("mosquitto", stack.broker.dir),
        ("central", stack.dir / "central"),
    ):
        found[part, "disk MB"] = vitals.disk_mb(directory)
    found["jobs", "cgroups"] = vitals.cgroups(stack.cgroup)
    return found


def live(stack: Stack, seconds: float) -> tuple[dict[Key, list[tuple[float, float]]], life.Life]:
    """Samples of `seconds` of life: (seconds since the beginning, value) by part and what."""
    series: dict[Key, list[tuple[float, float]]] = defaultdict(list)
    going = life.Life(stack)
    going.begin()
    try:
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds and not going.errors:
            for key, value in sample(stack).items():
                series[key].append((at, value))
            time.sleep(max(0.0, began + at + SAMPLE_SECONDS - time.monotonic()))
        going.fleet.pause()
        until(going.fleet.settled, what="the broker to acknowledge what was published", seconds=60)
    finally:
        going.end()
    return dict(series), going


def missing(stack: Stack, going: life.Life) -> int:
    """Of what was acknowledged to devices, once central has had time."""
    owed = {(device.name, n) for device in going.fleet.devices for n in device.acknowledged}
    until(lambda: stack.edgectl_json("nodes")["nodes"][0]["connected"], what="the node to be connected", seconds=120)
    end = time.monotonic() + 120
    while left := owed - {(device, n) for device, _, n in received(stack)}:
        if time.monotonic() > end:
            break
        time.sleep(1)
    return len(left)


def verdicts(series: Mapping[Key, Sequence[tuple[float, float]]]) -> dict[Key, tuple[slope.Growth, bool | None]]:
    """The growth of each, and whether it is too much; None: not judged."""
    found: dict[Key, tuple[slope.Growth, bool | None]] = {}
    for key, samples in series.items():
        grown = slope.growth(samples)
        found[key] = grown, None if key in UNJUDGED else slope.grows(grown, BOUNDS[key[1]])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--json", type=Path, help="also write all samples and slopes there")
    arguments: Namespace = parser.parse_args()
    with running() as stack:
        series, going = live(stack, arguments.hours * 3600)
        lost = missing(stack, going)
        dead = [name for name in PARTS if not stack.parts[name].alive()]
    found = verdicts(series)
    words = {None: "not judged", True: "GROWS", False: ""}
    print(f"{'':10} {'':11} {'first':>9} {'last':>9} {'highest':>9} {'per hour':>10} {'scatter':>8}  bound")  # noqa: T201  this table is what it is run for
    for (part, what), (grown, bad) in found.items():
        numbers = (
            f"{grown.first:9.1f} {grown.last:9.1f} {grown.highest:9.1f} {grown.per_hour:+10.2f} {grown.noise:8.2f}"
        )
        print(f"{part:10} {what:11} {numbers}  {BOUNDS[what]:g} {words[bad]}")  # noqa: T201  as above
    told = {
        "hours": arguments.hours,
        "hours in the line": max(grown.hours for grown, _ in found.values()),
        "acknowledged": going.fleet.total(lambda device: len(device.acknowledged)),
        "missing at central": lost,
        "turns of jobs": going.turns,
        "WAN cuts": going.cuts,
        "dead": dead,
        "errors": going.errors,
    }
    print(", ".join(f"{name}: {value}" for name, value in told.items()))  # noqa: T201  as above
    if arguments.json:
        lines = [
            {"part": part, "what": what, **asdict(grown), "grows": bad, "samples": series[part, what]}
            for (part, what), (grown, bad) in found.items()
        ]
        arguments.json.write_text(json.dumps({**told, "series": lines}))
    return int(bool(lost or dead or going.errors or any(bad for _, bad in found.values())))


if __name__ == "__main__":
    sys.exit(main())
