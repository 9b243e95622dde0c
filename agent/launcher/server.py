"""The launcher's socket: who may speak, one request at a time per connection, an answer to each."""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from agent.launcher import protocol
from agent.launcher import request as requests
from agent.launcher.protocol import MAX_PACKET, DiskState, ImageState, LauncherError, RunState, to_json
from agent.launcher.reach import parse_reach
from agent.launcher.runs import Runs
from agent.launcher.stock import Stock

_CONNECTIONS = 24  # twice what health checks may take of them
# In an answer: runs and disks of 400 bytes at most, images of 7 KB when what is said of them is in no letters of ours.
_LISTED = 256
_LISTED_IMAGES = 24
_IDLE_SECONDS = 30.0
_STOP_SECONDS = 20.0
_PLACE_SECONDS = 0.05
_FIRST_INHERITED = 3  # sd_listen_fds(3)

_State = TypeVar("_State", RunState, ImageState, DiskState)
Answer = tuple[dict[str, Any], int | None]


def say(message: str) -> None:
    print(f"edge-launcher: {message}", file=sys.stderr, flush=True)  # noqa: T201 stderr is the journal


def open_socket(path: Path, uid: int) -> socket.socket:
    """The socket that systemd opened for us, or our own at `path`, which `uid` alone (and root) may connect to."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        os.set_inheritable(_FIRST_INHERITED, False)
        return socket.socket(fileno=_FIRST_INHERITED)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    os.chown(path, uid, -1)
    path.chmod(0o600)
    listener.listen(64)
    return listener


def notify(state: str) -> None:
    """sd_notify(3); nothing when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, contextlib.suppress(OSError):
            out.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def _heard(number: int, frame: object) -> None:
    """The wake-up descriptor says it all; without a handler the signal would kill."""


@dataclass(frozen=True, slots=True)
class Server:
    runs: Runs
    stock: Stock
    facts: protocol.HostFacts
    agent_uid: int

    def serve(self, listener: socket.socket) -> None:
        """Until SIGTERM or SIGINT; then requests under way are finished. Jobs never notice."""
        # By a descriptor, not by an exception out of the handler: one that is raised while a weak reference's callback
        # runs (threading has some) is swallowed, and the launcher would never stop.
        wake, woken = socket.socketpair()
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _heard)
        threading.stack_size(256 * 1024)
        notify("READY=1")
        self._accept(listener, wake)
        notify("STOPPING=1")
        listener.close()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, listener: socket.socket, wake: socket.socket) -> None:
        """Until `wake` can be read. A connection is taken only when there is a place for it."""
        places = threading.BoundedSemaphore(_CONNECTIONS)
        while True:
            while not places.acquire(blocking=False):
                if select.select([wake], [], [], _PLACE_SECONDS)[0]:
                    return
            if wake in select.select([listener, wake], [], [])[0]:
                return
            try:
                connection, _ = listener.accept()
            except OSError as error:  # out of descriptors, when many runs are killed at once
                say(f"accept: {error.strerror}")
                places.release()
                time.sleep(_PLACE_SECONDS)
                continue
            try:
                threading.Thread(target=self._converse, args=(connection, places.release), daemon=True).start()
            except RuntimeError as error:  # out of threads: the caller sees the end, and asks again
                say(str(error))
                connection.close()
                places.release()

    def _converse(self, connection: socket.socket, done: Callable[[], None]) -> None:
        try:
            with connection:
                connection.settimeout(_IDLE_SECONDS)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_PACKET)
                allowed = _peer_uid(connection) == self.agent_uid
                while True:
                    packet = connection.recv(MAX_PACKET + 1)
                    if not packet:
                        return
                    if not allowed:
                        _send(connection, _refusal(LauncherError("not-allowed", "this user may not call")), None)
                        return
                    _send(connection, *self._answer(packet))
        except OSError:
            pass  # the caller went away, or said nothing for too long
        finally:
            done()

    def _answer(self, packet: bytes) -> Answer:
        try:
            value, fd = self._do(_parse(packet))
        except LauncherError as error:
            return _refusal(error), None
        except OSError as error:
            full = "disk" if error.errno in protocol.DISK_ERRORS else ""
            where = error.filename or "the launcher's own files"
            return _refusal(LauncherError("host", f"{error.strerror}: {where}", full)), None
        except Exception:  # noqa: BLE001 a bug in one request must not end the others
            say(traceback.format_exc())
            return _refusal(LauncherError("host", "the launcher failed inside; see its log")), None
        return {"ok": value}, fd

    def _do(self, raw: dict[str, Any]) -> Answer:
        match raw.get("op"):
            case "hello":
                return to_json(self.facts), None
            case "start":
                return to_json(self.runs.start(requests.parse_job(raw))), None
            case "hold":
                return to_json(self.runs.hold(requests.parse_job(raw))), None
            case "list":
                return _page("runs", self.runs.states(), lambda one: one.run, raw, _LISTED), None
            case "image" | "images" | "remove-image" | "disks" | "remove-disk" as op:
                return self._do_stock(op, raw), None
            case op:
                return self._do_run(op, requests.run_name(raw), raw)

    def _do_run(self, op: object, run: str, raw: dict[str, Any]) -> Answer:
        match op:
            case "state":
                return to_json(self.runs.state(run)), None
            case "watch":
                state, fd = self.runs.watch(run)
                return to_json(state), fd
            case "signal":
                self.runs.signal(run, requests.signal_name(raw))
            case "check":
                return to_json(self.runs.check(run)), None
            case "reach":
                self.runs.reach(run, parse_reach(raw.get("reach")))
            case "usage":
                return to_json(self.runs.usage(run)), None
            case "logs":
                return {}, self.runs.open_log(run)
            case "remove":
                self.runs.remove(run)
            case _:
                raise LauncherError("bad-request", f"unknown op {str(op)[:40]}", "op")
        return {}, None

    def _do_stock(self, op: str, raw: dict[str, Any]) -> dict[str, Any]:
        match op:
            case "image":
                return to_json(self.stock.image(requests.image_name(raw)))
            case "images":
                return _page("images", self.stock.images(), lambda one: one.image, raw, _LISTED_IMAGES)
            case "remove-image":
                self.stock.remove_image(requests.image_name(raw))
            case "disks":
                return _page("disks", self.stock.disks(), lambda one: f"{one.tenant}/{one.job}", raw, _LISTED)
            case _:
                self.stock.remove_disk(*requests.owner(raw))
        return {}


def _page(
    what: str, states: list[_State], name: Callable[[_State], str], raw: dict[str, Any], most: int
) -> dict[str, Any]:
    """By name, so that one which was there all along is in one of the answers."""
    after = str(raw.get("after", ""))
    found = sorted((state for state in states if name(state) > after), key=name)
    return {what: [to_json(state) for state in found[:most]], "more": len(found) > most}


def _peer_uid(connection: socket.socket) -> int:
    """As the kernel knows it (unix(7), SO_PEERCRED)."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _parse(packet: bytes) -> dict[str, Any]:
    if len(packet) > MAX_PACKET:
        raise LauncherError("bad-request", f"a packet has at most {MAX_PACKET} bytes")
    try:
        raw = json.loads(packet)
    except (ValueError, RecursionError) as error:
        raise LauncherError("bad-request", "a packet is one JSON object") from error
    if not isinstance(raw, dict):
        raise LauncherError("bad-request", "a packet is one JSON object")
    return cast("dict[str, Any]", raw)


def _refusal(error: LauncherError) -> dict[str, Any]:
    return {"error": {"code": error.code, "field": error.field, "message": str(error)[:2000]}}


def _send(connection: socket.socket, value: dict[str, Any], fd: int | None) -> None:
    try:
        socket.send_fds(connection, [json.dumps(value).encode()], [] if fd is None else [fd])
    finally:
        if fd is not None:
            os.close(fd)
