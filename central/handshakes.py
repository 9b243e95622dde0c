"""TLS handshakes that fail. gRPC core refuses them before any code of ours runs, and tells nobody but stderr.

So stderr (fd 2) is a pipe that we read: with GRPC_TRACE=handshaker core prints each failure with both addresses;
those lines become `Failure`s, the trace's other lines are dropped, everything else goes on to the real stderr. Both
must be in place before grpc is imported: this file imports only the standard library.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

_FAILED = re.compile(
    r"handshaker\.cc:\d+\] .*error=\w+: (?:Ssl handshake failed \(\w+\)|Handshake read failed)[: ]+(.*)$"
)
_ADDRESSES = re.compile(r"endpoint_local_address=([^,}]+).*endpoint_peer_address=([^,}]+)")
_TRACE = re.compile(
    r"handshaker\.cc:\d+\]|channel_trace\.h:\d+\] handshake manager|trace\.cc:\d+\] gRPC Tracers"
    r"|ssl_transport_security\.cc:\d+\] Handshake failed|^=== Source Location Trace|^src/core/\S+:\d+\s*$"
    r"|^ shutdown=(true|false) index="
)

# The other end left in the middle: a box that does not believe central, or somebody who only knocked.
ABORTED = "HANDSHAKE_ABORTED"

# What OpenSSL says -> outcome in the audit trail; the first that is found counts.
_OUTCOMES = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_MISSING"),
    ("certificate has expired", "CERTIFICATE_EXPIRED"),
    ("certificate is not yet valid", "CERTIFICATE_NOT_YET_VALID"),
    ("CERTIFICATE_VERIFY_FAILED", "CERTIFICATE_UNTRUSTED"),
    ("certificate signature failure", "CERTIFICATE_UNTRUSTED"),
    ("ALERT", "PEER_REFUSED_CENTRAL"),
    ("Socket closed", ABORTED),
    ("HTTP_REQUEST", "NOT_TLS"),
    ("WRONG_VERSION_NUMBER", "NOT_TLS"),
)
_BURST, _PER_SECOND = 50, 5.0  # audit entries; a flood of failures must not fill the disk


@dataclass(frozen=True, slots=True)
class Failure:
    peer: str  # address, as gRPC writes it: ipv4:127.0.0.1:46934
    local: str
    outcome: str
    detail: str


def outcome(text: str) -> str:
    return next((word for sign, word in _OUTCOMES if sign in text), "HANDSHAKE_FAILED")


class Lines:
    """Core's lines, one after the other: what to pass on, and which handshakes failed. Pure."""

    def __init__(self) -> None:
        self._error = ""

    def feed(self, line: str) -> tuple[bool, Failure | None]:
        """(whether the line goes on to stderr, the failure it completes). An entry of core spans several lines."""
        if failed := _FAILED.search(line):
            self._error = failed[1].removesuffix(": OK")
        if self._error and (found := _ADDRESSES.search(line)):
            failure = Failure(found[2], found[1], outcome(self._error), self._error)
            self._error = ""
            return False, failure
        return bool(line.strip()) and not _TRACE.search(line), None


@dataclass
class Brake:
    """Lets `burst` failures through at once and `per_second` after that; counts the rest. Pure."""

    burst: int = _BURST
    per_second: float = _PER_SECOND
    tokens: float = float(_BURST)
    last: float = 0.0
    suppressed: int = 0

    def passes(self, seconds: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (seconds - self.last) * self.per_second)
        self.last = seconds
        if self.tokens < 1:
            self.suppressed += 1
            return False
        self.tokens -= 1
        return True


class Capture:
    """fd 2 through a pipe, read by a thread until `close`."""

    def __init__(self) -> None:
        os.environ["GRPC_TRACE"] = "handshaker"
        os.environ.pop("GRPC_VERBOSITY", None)  # ERROR would silence the trace
        self.on_failure: Callable[[Failure], object] | None = None
        self._stderr = os.dup(2)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.dup2(writing, 2)
        os.close(writing)
        self._thread = threading.Thread(target=self._read, args=(reading,), name="stderr", daemon=True)
        self._thread.start()

    def _read(self, fd: int) -> None:
        lines = Lines()
        with os.fdopen(fd, "rb") as pipe:
            for raw in pipe:
                goes_on, failure = lines.feed(raw.decode(errors="replace"))
                if goes_on:
                    with contextlib.suppress(OSError):
                        os.write(self._stderr, raw)
                if failure is not None and self.on_failure is not None:
                    self.on_failure(failure)

    def close(self) -> None:
        """Give stderr back; what was written before has been passed on."""
        os.dup2(self._stderr, 2)
        self._thread.join(timeout=2.0)
