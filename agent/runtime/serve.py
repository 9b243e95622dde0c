"""Runs the services side by side from start to an orderly end."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from agent.clock import Clock
from agent.runtime.heartbeat import Heartbeats
from agent.runtime.notify import Notifier
from agent.runtime.service import Service
from agent.runtime.watchdog import Watchdog, interval_seconds

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(
    services: Sequence[Service],
    *,
    clock: Clock,
    ready: Callable[[], Awaitable[None]] | None = None,
    reload: Callable[[], Awaitable[None]] | None = None,
    grace_seconds: float = 6.0,
    notifier: Notifier | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, then let the services end within `grace_seconds`; the late are named and cancelled.

    systemd hears READY=1 once `ready` has returned. At SIGHUP `reload` is awaited; it raises nothing.

    A service that fails, or returns unasked, cancels the others and leaves here as an ExceptionGroup: the process must
    then end with a non-zero code, and systemd starts it anew.
    """
    notifier = Notifier.from_environ(os.environ) if notifier is None else notifier
    heartbeats = Heartbeats(clock, [service.name for service in services])
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_guard(each, stop, heartbeats), name=each.name) for each in services]
            watchdog = Watchdog(notifier, heartbeats).run(interval_seconds(os.environ, os.getpid()))
            beside = [
                group.create_task(watchdog, name="watchdog"),
                group.create_task(_announce(ready, notifier), name="ready"),
                group.create_task(_reloads(asked, reload, notifier, clock), name="reload"),
            ]
            await stop.wait()
            await _drain(tasks, notifier, grace_seconds)
            for task in beside:
                task.cancel()
    finally:
        notifier.stopping("stopped")
        for number in (*_SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _guard(service: Service, stop: asyncio.Event, heartbeats: Heartbeats) -> None:
    try:
        await service.run(stop, heartbeats.beater(service.name))
    except Exception:
        if not stop.is_set():
            raise
        # The others are ending in order; one that can't must not cut them short.
        _log.exception("service failed while stopping", extra={"service": service.name})
    finally:
        heartbeats.end(service.name)
    if not stop.is_set():
        raise RuntimeError(f"service {service.name} returned without being asked to stop")


async def _announce(ready: Callable[[], Awaitable[None]] | None, notifier: Notifier) -> None:
    if ready is not None:
        await ready()
    notifier.ready("running")
    _log.info("ready")


async def _reloads(
    asked: asyncio.Event, reload: Callable[[], Awaitable[None]] | None, notifier: Notifier, clock: Clock
) -> None:
    """Until cancelled."""
    while True:
        await asked.wait()
        asked.clear()
        if reload is not None:
            notifier.reloading(clock.boottime_nano() // 1000)
            await reload()
            notifier.ready("running")
            _log.info("reloaded")


async def _drain(tasks: Sequence[asyncio.Task[None]], notifier: Notifier, grace_seconds: float) -> None:
    notifier.stopping("stopping")
    _log.info("stopping", extra={"grace_seconds": grace_seconds})
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_seconds)
    for task in late:
        _log.warning("service cancelled after its grace", extra={"service": task.get_name()})
        task.cancel()
