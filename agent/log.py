"""Logging: journald's native protocol with structured fields under systemd, readable lines elsewhere.

Every value in `extra` becomes a field: EDGE_<NAME>=... (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
"""

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

_JOURNAL = Path("/run/systemd/journal/socket")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def _extra(record: logging.LogRecord) -> dict[str, str]:
    return {k: str(v) for k, v in vars(record).items() if k not in _STANDARD}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {k}={v}" for k, v in _extra(record).items())
        return f"{super().format(record)}{fields}"


def encode_journal(fields: Mapping[str, str]) -> bytes:
    """One entry of the native protocol; values with a newline in its binary form."""
    out = bytearray()
    for key, value in fields.items():
        data = value.encode(errors="replace")
        if b"\n" in data:
            out += key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            out += key.encode() + b"=" + data + b"\n"
    return bytes(out)


class _Journal(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.setFormatter(logging.Formatter())  # the bare message: the level and the logger are fields

    def close(self) -> None:
        self._socket.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            fields = {"MESSAGE": text, "PRIORITY": str(_PRIORITY.get(record.levelno, 6)), "LOGGER": record.name}
            fields |= {f"EDGE_{k.upper()}": v for k, v in _extra(record).items()}
            self._socket.sendto(encode_journal(fields), str(_JOURNAL))
        except OSError:
            self.handleError(record)


def _stream(fd: int) -> str:
    """A descriptor as systemd names it in JOURNAL_STREAM (systemd.exec(5)), which child processes inherit."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def configure(level: str = "INFO") -> None:
    """Send the root logger to the journal when systemd connected stderr to it, to stderr otherwise."""
    handler: logging.Handler
    if os.environ.get("JOURNAL_STREAM") == _stream(2) and _JOURNAL.exists():
        handler = _Journal()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
