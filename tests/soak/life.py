"""A day of a store, over and over: devices publish, jobs come and go, the WAN is cut."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

from tests.faults.mqtt.fleet import Device, Fleet
from tests.stack import NODE, STORE, Stack

DEVICES, RATE = 20, 10.0  # messages a second of all together
TURN_SECONDS = 30.0  # between two changes of what is desired
CUT_EVERY_SECONDS, CUT_SECONDS = 120.0, (1.0, 30.0)
SEED = 20261123
_TOP = """
[store]
reserve = { cpu_milli = 100, memory = "128MiB", disk = "64MiB" }

[[tenant]]
id = "citycloud"
quota = { jobs = 8, cpu_milli = 800, memory = "512MiB" }
"""
_JOB = """
[[job]]
id = "job-{number}"
generation = {generation}
tenant = "citycloud"
kind = "{kind}"
command = ["/bin/sh", "-c", "for i in $(seq 20); do echo line $i; done; {command}"]
cpu_milli = 50
memory = "32MiB"
"""


class Life:
    """Goes on in threads of its own until `end`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._draw = random.Random(SEED)
        accounts = stack.devices([f"soak-{number:02}" for number in range(DEVICES)])
        self.fleet = Fleet(
            [
                Device(name, stack.mqtt_port, account.username, account.password, RATE / DEVICES)
                for name, account in accounts.items()
            ]
        )
        self._ended = threading.Event()
        self._file = Path(stack.dir, "soak.toml")
        self.turns = self.cuts = 0
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._jobs, self._wan)]

    def begin(self) -> None:
        self.fleet.start()
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._stack.wire.mend()
        self.fleet.close()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  it is told in the report, and the soak fails
            self.errors.append(f"{work.__name__}: {error}")

    def _jobs(self) -> None:
        """At each turn other jobs: some stay, some go, one is a new generation of itself, batch jobs end."""
        while not self._ended.wait(TURN_SECONDS):
            self.turns += 1
            chosen = sorted(self._draw.sample(range(8), 5))
            jobs = [
                _JOB.format(
                    number=number,
                    generation=1 + self.turns // (4 + number),
                    kind="service" if number % 2 else "batch",
                    command="sleep 1000000" if number % 2 else "sleep 5",
                )
                for number in chosen
            ]
            self._file.write_text(_TOP + "".join(jobs))
            self._stack.edgectl("apply", str(self._file), "--node", f"{STORE}/{NODE}")

    def _wan(self) -> None:
        while not self._ended.wait(CUT_EVERY_SECONDS):
            self.cuts += 1
            self._stack.wire.cut()
            self._ended.wait(self._draw.uniform(*CUT_SECONDS))
            self._stack.wire.mend()
