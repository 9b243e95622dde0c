"""The supply fails again and again, at moments that nobody chose: while it boots, works, takes new jobs, unpacks.

`EDGE_POWER_CUTS` cuts (50) of the schedule of `EDGE_POWER_SEED`; what each met and what it cost is in cuts.txt and
cuts.json.
Devices and central are outside the board, so the suite needs no login between two cuts.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from hil import cuts, disk
from hil.board import COMMAND_SECONDS, until
from hil.central import Central
from hil.cuts import Cut, Life, Moment
from hil.feed import Feed, Run
from hil.ledger import Ledger
from hil.publisher import Publisher
from hil.suite.conftest import NODE, REPORT
from hil.work import ERRANDS, NOTHING, Work

CUTS = int(os.environ.get("EDGE_POWER_CUTS", "50"))
SEED = int(os.environ.get("EDGE_POWER_SEED", "13"))
DEVICES = ("cart-1", "cart-2", "cart-3")
PER_SECOND = 4.0
TLS_PASSWORD_PORT = 8884
RETURN_SECONDS = 600.0  # nobody waits for this: a busy host under emulation
RUNNING_SECONDS = 25.0
UNPACKING_SECONDS = 4.0
EXAMINED_EVERY = 10
CA = "/var/lib/edge-broker/ca.crt"


class _Board:
    """Between power on and cut."""

    def __init__(self, board: Any, central: Central, feed: Feed, work: Work) -> None:
        self._board, self._central, self._feed, self._work = board, central, feed, work
        self._returns = [40.0]  # seconds from power on; the first is a guess
        self.on = time.time()
        self.back: float | None = self.on
        """When central saw the agent in this life."""

    def live(self, cut: Cut) -> str:
        """Until it is time for `cut`; what it will interrupt."""
        if cut.moment is Moment.BOOT:
            self._watch(self.on + 1 + cut.part * median(self._returns[-9:]))
            return self._doing()
        self.await_agent()
        assert self.back is not None
        end = self.back + cut.part * RUNNING_SECONDS
        if cut.moment is Moment.UNPACKING:
            self._watch(self.back + 2 * RUNNING_SECONDS, self._unpacks)
            end = time.time() + cut.part * UNPACKING_SECONDS
        if cut.central_away:
            self._central.stop()
        self._watch(end)
        return self._doing()

    def cut(self, cut: Cut) -> None:
        self._board.cut_power()
        if cut.central_away:
            self._central.start()
        until(lambda: not self._feed.connected, "central to miss the agent", 60)

    def power_on(self) -> None:
        self._board.power.on()
        self.on, self.back = time.time(), None
        self._board.overhear(REPORT / "console_of_cuts")

    def await_agent(self) -> None:
        self._watch(self.on + RETURN_SECONDS, lambda: self.back is not None)
        assert self.back is not None, f"no agent at central {RETURN_SECONDS} s after power on"

    def _watch(self, end: float, done: Callable[[], bool] = lambda: False) -> None:
        while time.time() < end and not done():
            if self.back is None and self._feed.connected:
                self.back = time.time()
                self._returns.append(self.back - self.on)
            time.sleep(0.1)

    def _unpacks(self) -> bool:
        newest = self._feed.newest("picture")
        return newest is not None and newest.state == "PREPARING" and newest.received > self.on

    def _doing(self) -> str:
        states = [f"{run.job} {run.state.lower()}" for run in map(self._feed.newest, ("picture", "errand")) if run]
        return ", ".join([self._work.doing, *states])


@pytest.fixture
def publishers(board: Any, enrolled: Any, central: Central, tmp_path: Path) -> Iterator[list[Publisher]]:
    enrolled.get(CA, str(tmp_path / "ca.crt"))
    address = board.reach(TLS_PASSWORD_PORT)
    made = [Publisher(d, central.password(NODE, d), "position", address, tmp_path / "ca.crt") for d in DEVICES]
    for each in made:
        each.start(PER_SECOND)
    yield made
    for each in made:
        each.close()


@pytest.fixture
def feed(enrolled: Any, central: Central) -> Iterator[Feed]:  # noqa: ARG001
    made = Feed(central, NODE)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def work(enrolled: Any, central: Central) -> Iterator[Work]:
    busybox = central.directory / "busybox"
    enrolled.get("/bin/busybox", str(busybox))
    made = Work(central, NODE, busybox.read_bytes(), SEED)
    made.start()
    yield made
    made.stop()
    central.apply(NODE, NOTHING)


@pytest.fixture
def powered(board: Any, enrolled: Any, central: Central) -> Iterator[None]:  # noqa: ARG001
    """Whatever became of the test, the board and central are back after it."""
    yield
    if not central.running:
        central.start()
    board.power.on()
    board.arrive()


# paho leaves the socket of a broken connection to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.lg_feature("power-cut")
@pytest.mark.timeout(CUTS * 300 + 1800)
def test_no_cut_of_many_costs_what_was_promised(
    board: Any,
    env: Any,
    central: Central,
    publishers: list[Publisher],
    feed: Feed,
    work: Work,
    record_property: Callable[[str, object], None],
    powered: None,  # noqa: ARG001
) -> None:
    until(lambda: bool(feed.messages) and feed.newest("picture") is not None, "messages and jobs at central", 240)
    life, ledger, lives = _Board(board, central, feed, work), Ledger(REPORT), list[Life]()
    image = Path(env.config.get_image_path("disk")) if "disk" in env.config.get_images() else None
    for number, cut in enumerate(cuts.schedule(SEED, CUTS), 1):
        doing = life.live(cut)
        on, back, service = life.on, life.back, feed.newest("keeper")
        life.cut(cut)
        lives.append(Life(on, time.time(), None))
        faults = disk.examine(image) if image and (number % EXAMINED_EVERY == 0 or number == CUTS) else None
        life.power_on()
        ledger.add(number, cut, lives[-1], back, doing, service.attempt if service else 0, faults)
        ledger.write()
        assert not faults, faults
    life.await_agent()
    ledger.returned(life.back)

    def acknowledged() -> dict[cuts.Message, float]:
        return {(each.name, number): when for each in publishers for number, when in tuple(each.acknowledged.items())}

    work.stop()
    for each in publishers:
        each.stop()
    until(lambda: not any(each.waiting for each in publishers), "everything to be acknowledged", 240)
    after = {message for message, when in acknowledged().items() if when > life.on}
    until(lambda: after <= set(feed.messages), "what was acknowledged since the last cut to be at central", 240)
    batch = ("errand", "again", "picture")
    until(lambda: all(_ended(feed, name, work.generation) for name in batch), "the last jobs to end", 240)

    lives = [Life(life.on, life.cut, _heard(feed, life)) for life in lives]
    losses = list(cuts.judge(lives, acknowledged(), feed.messages))
    ledger.judged(losses)
    ledger.write()
    for name, value in ledger.totals().items():
        record_property(name, value)
    assert [loss.missing for loss in losses if loss.missing] == []
    assert [what for what, count in feed.messages.items() if count > 1] == []
    assert feed.gaps == 0
    assert [each.refused for each in publishers if each.refused] == []
    _by_policy(feed.runs)
    board.arrive()
    _sound(board.ssh)
    assert len({message["spool_epoch"] for message in central.messages(NODE)}) == 1


def _heard(feed: Feed, life: Life) -> float | None:
    """When the agent first recorded a message in this life: it had the broker then."""
    return next((when for when in sorted(feed.first_recorded.values()) if life.on <= when < life.cut), None)


def _ended(feed: Feed, job: str, generation: int) -> bool:
    """An errand that the last cut interrupted is lost, and stays so."""
    newest = feed.newest(job)
    good = newest is not None and newest.state == "FINISHED" and newest.exit_code == 0
    lost = newest is not None and newest.state == "LOST" and job == "errand"
    return newest is not None and newest.generation == generation and (good or lost)


def _by_policy(runs: list[Run]) -> None:
    """The service has a run for each life, numbered on; what may run once has one; no image was but half there.

    An event may be told twice: the power went between the spool and the list of what is still to be told.
    """
    service = [run.attempt for run in runs if run.job == "keeper" and run.state == "RUNNING"]
    assert service == sorted(service), service
    assert {run.attempt for run in runs if run.job == "errand" and run.state == "RUNNING"} == {1}
    assert [run for run in runs if run.job == "picture" and run.exit_code not in (0, None)] == []


def _sound(ssh: Any) -> None:
    assert ssh.run_check("systemctl --failed --no-legend") == []
    assert ssh.run("ls -d /var/lib/edge-*/*corrupt*")[0] == []
    ran = ssh.run_check(f"debugfs -R 'cat {ERRANDS}' /var/lib/edge-launcher/disks/citycloud/errand.img 2>/dev/null")
    assert ran != []
    assert len(ran) == len(set(ran)), ran  # each writes down its generation
    said = ssh.run("edge-agent doctor", timeout=COMMAND_SECONDS)[0]
    assert [line for line in said if line.startswith("fail")] == [], said
