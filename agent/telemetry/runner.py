"""Runs collectors away from the event loop. One that fails or hangs costs its own samples only."""

import asyncio
import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.model import MetricKind
from agent.telemetry.sample import Collector, Sample

log = logging.getLogger(__name__)

# Of one collector in one tick. A box with thousands of interfaces must not fill memory and link.
MAX_SAMPLES = 2048


@dataclass(slots=True)
class _Turn:
    """One collector's go in one tick; `error` is empty once it has succeeded."""

    name: str
    error: str = "hangs"
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list[Sample])


class Runner:
    """Collectors run one after the other in a daemon thread of their own, with a deadline for all of them.

    Not in asyncio's pool: the process would wait at its end for a thread that hangs on a dead mount. A hung
    collector keeps its thread, is left out until it comes back, and the others go on in a new thread at the next
    tick: there are never more threads than collectors.
    """

    def __init__(self, collectors: Mapping[str, Collector], seconds: Callable[[], float]) -> None:
        self._collectors = collectors
        self._seconds = seconds
        self._hung: dict[str, threading.Thread] = {}
        self._failing: dict[str, str] = {}

    async def collect(self, timeout_seconds: float) -> list[Sample]:
        """One tick: what the collectors gave, and how each of them fared."""
        self._hung = {name: thread for name, thread in self._hung.items() if thread.is_alive()}
        turns = [_Turn(name) for name in self._collectors if name not in self._hung]
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def work() -> None:
            self._work(turns, given_up)
            with contextlib.suppress(RuntimeError):  # back from a long hang, the loop may have been closed
                loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=work, name="telemetry", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(timeout_seconds):
                await done.wait()
        except TimeoutError:
            given_up.set()
            turns = self._cut(turns, thread)
        turns += [_Turn(name) for name in self._hung if all(turn.name != name for turn in turns)]
        for turn in turns:
            self._report(turn)
        return [sample for turn in turns for sample in itertools.chain(tuple(turn.samples), _fared(turn))]

    def _work(self, turns: list[_Turn], given_up: threading.Event) -> None:
        for turn in turns:
            if given_up.is_set():
                return
            start = self._seconds()
            try:
                for sample in self._collectors[turn.name].collect():
                    if len(turn.samples) == MAX_SAMPLES:
                        raise OverflowError(f"more than {MAX_SAMPLES} samples")  # noqa: TRY301 same fate as any other
                    turn.samples.append(sample)
            except Exception as error:  # noqa: BLE001 whatever it is, the other collectors must go on
                turn.error = f"{type(error).__name__}: {error}"
            else:
                turn.error = ""
            turn.seconds = self._seconds() - start

    def _cut(self, turns: list[_Turn], thread: threading.Thread) -> list[_Turn]:
        """Those that had their turn, and the one that hangs; those behind it are left for the next tick."""
        for number, turn in enumerate(turns):
            if turn.error == "hangs":
                self._hung[turn.name] = thread
                return turns[: number + 1]
        return turns

    def _report(self, turn: _Turn) -> None:
        """Log a change of state, once."""
        before = self._failing.get(turn.name, "")
        if turn.error and not before:
            log.warning("collector fails", extra={"collector": turn.name, "error": turn.error})
        elif before and not turn.error:
            log.info("collector works again", extra={"collector": turn.name})
        self._failing[turn.name] = turn.error


def _fared(turn: _Turn) -> Iterator[Sample]:
    attributes = (("edge.collector.name", turn.name),)
    yield Sample("edge.agent.collector.success", int(not turn.error), "1", MetricKind.GAUGE, attributes)
    yield Sample("edge.agent.collector.duration", round(turn.seconds, 5), "s", MetricKind.GAUGE, attributes)
    yield Sample("edge.agent.collector.samples", len(turn.samples), "{sample}", MetricKind.GAUGE, attributes)
