"""What an idle store costs: memory and processor time of agent and launcher, and time to READY.

A whole store runs with production's intervals: real central, real broker, enrolled, session open. Nothing is published
and no job runs. Floors, in the same run: bare interpreters of the same Python with the least such a process imports.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.table import Row, publish
from tests.stack import Stack, until

RUNS = 5
SETTLE_SECONDS = 8.0
WINDOW_SECONDS = 20.0

FLOORS = {
    "bare python": "import time; print('up', flush=True); time.sleep(3600)",
    "python, asyncio timer at 1 Hz": """
import asyncio
async def main():
    print('up', flush=True)
    while True:
        await asyncio.sleep(1)
asyncio.run(main())
""",
}
BARE, ASYNCIO = FLOORS
STARTS = {"python starts and ends": "pass", "python imports grpc.aio and ends": "import grpc.aio"}
NOTHING, GRPC = STARTS

_HEAD = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ (\S+ \d+)")
_PRIVATE = ("Private_Clean", "Private_Dirty")
_SHARED = ("Shared_Clean", "Shared_Dirty")


def mappings(pid: int) -> Iterator[tuple[str, Mapping[str, int]]]:
    """(device and inode, kB by field) of each mapping (/proc/PID/smaps)."""
    file, fields = "", Counter[str]()
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := _HEAD.match(line):
            yield file, fields
            file, fields = head[1], Counter()
        elif line.endswith(" kB"):
            name, _, size = line.partition(":")
            fields[name] = int(size.split()[0])
    yield file, fields


def memory(pids: Iterable[int]) -> list[float]:
    """MB of each process, a page that several of them share counted in parts: PSS on a box where only they run.

    The kernel's own PSS also divides by central and by whatever else uses gRPC or Python on this machine, which a
    store's box does not run: here it would make the agent look 17 MB smaller (31 for 48) than it is there.
    """
    seen = {pid: list(mappings(pid)) for pid in pids}
    users = Counter(file for each in seen.values() for file in {file for file, _ in each})
    return [
        sum(
            sum(fields[name] for name in _PRIVATE) + sum(fields[name] for name in _SHARED) / max(1, users[file])
            for file, fields in each
        )
        * 1024
        / 1e6
        for each in seen.values()
    ]


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, also of those that ended (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def idle_cpu(pids: Iterable[int]) -> list[float]:
    """Milliseconds of processor per second over the window; 10 are a percent of a core."""
    start, before = time.monotonic(), {pid: cpu_seconds(pid) for pid in pids}
    time.sleep(WINDOW_SECONDS)
    took = time.monotonic() - start
    return [1000 * (cpu_seconds(pid) - old) / took for pid, old in before.items()]


@contextmanager
def floors() -> Iterator[list[int]]:
    with ExitStack() as stack:
        pids = []
        for code in FLOORS.values():
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            pids.append(process.pid)
        yield pids


def production(config: Path) -> None:
    """The stack samples every second; a store every ten."""
    text = config.read_text()
    for fast in ("interval_seconds = 1.0\n", "batch_ticks = 5\n", "usage_interval_seconds = 5.0\n"):
        assert fast in text
        text = text.replace(fast, "")
    config.write_text(text)


def connected(stack: Stack) -> bool:
    return any(node.get("connected") for node in stack.edgectl_json("nodes")["nodes"])


def milliseconds(action: Callable[[], object]) -> float:
    begin = time.monotonic()
    action()
    return 1000 * (time.monotonic() - begin)


def measure(stack: Stack, into: dict[str, list[float]]) -> None:
    """One life of launcher and agent, beside the floors."""

    def note(names: Iterable[str], what: str, values: Iterable[float]) -> None:
        for name, value in zip(names, values, strict=True):
            into.setdefault(f"{name} {what}".rstrip(), []).append(value)

    note(["launcher", "agent"], "to READY", map(milliseconds, (stack.start_launcher, stack.start_agent)))
    note(STARTS, "", (milliseconds(partial(subprocess.run, [sys.executable, "-c", c])) for c in STARTS.values()))
    until(lambda: connected(stack), what="the session")
    broker = stack.parts["mosquitto"].pid
    ours = [stack.parts[name].pid for name in ("agent", "launcher")]
    with floors() as bare:
        time.sleep(SETTLE_SECONDS)
        note(["agent", "launcher", *FLOORS], "idle CPU", idle_cpu([*ours, *bare]))
        note(["agent", "launcher", "mosquitto"], "memory", memory([*ours, broker]))
        note([*FLOORS, "mosquitto beside floors"], "memory", memory([*bare, broker]))
    for name in ("agent", "launcher"):
        stack.parts[name].stop()


def rows(measured: Mapping[str, list[float]]) -> list[Row]:
    """The two budgets are the product's own; the rest is held against what no Python process can do without."""
    return [
        Row("agent memory", "MB", measured["agent memory"], ASYNCIO, measured[f"{ASYNCIO} memory"], goal=45.0),
        Row("launcher memory", "MB", measured["launcher memory"], BARE, measured[f"{BARE} memory"], goal=12.0),
        Row("agent idle CPU", "ms/s", measured["agent idle CPU"], ASYNCIO, measured[f"{ASYNCIO} idle CPU"], goal=10.0),
        Row("launcher idle CPU", "ms/s", measured["launcher idle CPU"], BARE, measured[f"{BARE} idle CPU"], goal=1.0),
        Row("agent to READY", "ms", measured["agent to READY"], GRPC, measured[GRPC], goal_ratio=4.0),
        Row("launcher to READY", "ms", measured["launcher to READY"], NOTHING, measured[NOTHING], goal_ratio=10.0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.footprint", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    measured: dict[str, list[float]] = {}
    stack = Stack()
    try:
        production(stack.config)
        stack.start_central()
        stack.start_broker()
        stack.enrol()
        for _ in range(RUNS):
            measure(stack, measured)
    finally:
        stack.close()
    return 0 if publish("footprint", rows(measured), args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
