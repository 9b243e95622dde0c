"""A second monitor of a QEMU board: commands, and the events that labgrid's own monitor throws away."""

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hil import injected


class QmpError(Exception):
    """The monitor refused a command, or closed."""


class Qmp:
    """One connection; use as a context manager. Socket: `-qmp unix:PATH,server=on,wait=off`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._message(None)  # the greeting
        self.command("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def command(self, name: str, /, **arguments: Any) -> Any:
        """Its return value. An underscore in an argument's name stands for a hyphen. Raises QmpError."""
        if not name.startswith(("query", "qmp_", "human")):
            injected.note(f"{name} {' '.join(f'{key}={value}' for key, value in arguments.items())}")
        request = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._message(None)
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpError(f"{name}: {message['error']['desc']}")
            else:
                return message["return"]

    def human(self, line: str) -> str:
        """A command of the human monitor, which has some that QMP lacks. Its complaint is its answer."""
        injected.note(line)
        return str(self.command("human-monitor-command", command_line=line))

    def wait(self, event: str, seconds: float) -> dict[str, Any]:
        """The first `event` since the last wait. Raises TimeoutError that names what came instead."""
        deadline = time.monotonic() + seconds
        while True:
            for index, seen in enumerate(self._events):
                if seen["event"] == event:
                    return self._events.pop(index)
            try:
                message = self._message(deadline)
            except TimeoutError:
                seen_names = [seen["event"] for seen in self._events]
                raise TimeoutError(f"no {event} in {seconds} s; saw {seen_names}") from None
            if "event" in message:
                self._events.append(message)

    def _message(self, deadline: float | None) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._socket.settimeout(None if deadline is None else max(0.01, deadline - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise QmpError("the monitor closed: QEMU has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
