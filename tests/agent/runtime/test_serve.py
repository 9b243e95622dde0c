"""agent/runtime/serve.py."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.runtime.notify import Notifier
from agent.runtime.serve import serve

CLOCK = Clock("boot")


@dataclass
class Part:
    """A service made of one function."""

    name: str
    body: Callable[[asyncio.Event], Awaitable[None]]
    ended: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        beat()
        try:
            await self.body(stop)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("returned")


async def orderly(stop: asyncio.Event) -> None:
    await stop.wait()


async def stuck(stop: asyncio.Event) -> None:
    await asyncio.Event().wait()


async def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_a_hangup_reloads_and_says_so(systemd: socket.socket) -> None:
    reloaded = asyncio.Event()

    async def reload() -> None:
        reloaded.set()

    async def body(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await reloaded.wait()
        await asyncio.sleep(0)
        await terminate()
        await stop.wait()

    await serve([Part("one", body)], clock=CLOCK, reload=reload, notifier=Notifier(systemd.getsockname()))
    said = heard(systemd)
    assert said[said.index("RELOADING=1") + 1] == "READY=1"


async def test_a_hangup_without_anything_to_reload_ends_nothing() -> None:
    async def body(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        await terminate()
        await stop.wait()

    await serve([Part("one", body)], clock=CLOCK)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    messages: list[str] = []
    while True:
        try:
            messages.append(sock.recv(4096).decode().split("\n")[0])
        except BlockingIOError:
            return messages


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_every_service_end_in_order(number: signal.Signals, systemd: socket.socket) -> None:
    parts = [Part("a", orderly), Part("b", orderly)]

    async def ready() -> None:
        os.kill(os.getpid(), number)

    await serve(parts, clock=CLOCK, ready=ready, notifier=Notifier(systemd.getsockname()))
    assert [part.ended for part in parts] == [["returned"], ["returned"]]
    assert heard(systemd) == ["WATCHDOG=1", "READY=1", "STOPPING=1", "STOPPING=1"]
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


async def test_ready_is_said_only_after_what_it_waits_for(systemd: socket.socket) -> None:
    seen: list[list[str]] = []

    async def ready() -> None:
        await asyncio.sleep(0)
        seen.append(heard(systemd))
        await terminate()

    await serve([Part("a", orderly)], clock=CLOCK, ready=ready, notifier=Notifier(systemd.getsockname()))
    assert "READY=1" not in seen[0]
    assert "READY=1" in heard(systemd)


async def test_a_stop_before_ready_ends_without_ever_saying_ready(systemd: socket.socket) -> None:
    async def ready() -> None:
        await terminate()
        await asyncio.Event().wait()

    await serve([Part("a", orderly)], clock=CLOCK, ready=ready, notifier=Notifier(systemd.getsockname()))
    assert "READY=1" not in heard(systemd)


async def test_a_crash_ends_the_others_and_surfaces() -> None:
    async def crash(stop: asyncio.Event) -> None:
        raise ZeroDivisionError

    other = Part("b", orderly)
    with pytest.raises(ExceptionGroup) as caught:
        await serve([Part("a", crash), other], clock=CLOCK)
    assert caught.group_contains(ZeroDivisionError)
    assert other.ended == ["cancelled"]


async def test_returning_unasked_is_a_crash_that_names_the_service() -> None:
    async def early(stop: asyncio.Event) -> None:
        return

    with pytest.raises(ExceptionGroup) as caught:
        await serve([Part("sampler", early), Part("b", orderly)], clock=CLOCK)
    assert caught.group_contains(RuntimeError, match="service sampler returned without being asked")


async def test_a_failure_of_ready_is_a_crash() -> None:
    async def ready() -> None:
        raise OSError("no room")

    with pytest.raises(ExceptionGroup) as caught:
        await serve([Part("a", orderly)], clock=CLOCK, ready=ready)
    assert caught.group_contains(OSError)


async def test_who_is_late_is_cancelled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    late, good = Part("late", stuck), Part("good", orderly)
    with caplog.at_level(logging.WARNING):
        await serve([late, good], clock=CLOCK, ready=terminate, grace_seconds=0.05)
    assert late.ended == ["cancelled"]
    assert good.ended == ["returned"]
    assert [record.service for record in caplog.records] == ["late"]  # type: ignore[attr-defined] # from `extra`


async def test_a_failure_while_draining_does_not_cut_short_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(stop: asyncio.Event) -> None:
        await stop.wait()
        raise ZeroDivisionError

    async def slow(stop: asyncio.Event) -> None:
        await stop.wait()
        for _ in range(20):
            await asyncio.sleep(0)

    patient = Part("patient", slow)
    await serve([Part("breaks", breaks), patient], clock=CLOCK, ready=terminate)
    assert patient.ended == ["returned"]
    assert "service failed while stopping" in caplog.text
