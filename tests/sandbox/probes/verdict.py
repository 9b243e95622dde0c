"""What every probe file shares, and the part that runs inside the job. Standard library only; Python 3.11 of the host.

A probe is a function that tries one thing. To come back with something is to get through: what it returns is said as
`ESCAPED: ...`. It is held when the kernel refuses (an OSError of REFUSALS) or when it raises Held with what it found
instead. Measured is for what is no verdict: a number for the reader. Anything else is a broken probe.
"""

import ctypes
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REFUSALS = frozenset(
    {
        errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS, errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO,
        errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ECONNREFUSED, errno.ENETUNREACH,
        errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ENOTDIR, errno.EAGAIN, errno.ENOSPC, errno.EMFILE,
        errno.ETXTBSY,
    }
)  # fmt: skip
SECONDS = 15.0  # a probe that says nothing for so long is broken
# What the test plants on the host and in a neighbour: in names, files, environments, sockets and queues.
CANARY = "edge-canary-3af1"
CANARY_KEY = 0x3AF1CA7A  # of a System V segment
CANARY_PORT = 48731  # on the host's and on the neighbour's loopback

libc = ctypes.CDLL(None, use_errno=True)


class Held(Exception):  # noqa: N818 a verdict, not an error
    pass


class Measured(Exception):  # noqa: N818 a verdict, not an error
    pass


@dataclass(frozen=True)
class Probe:
    name: str
    category: str
    says: str  # what it tries, for the table
    attempt: Callable[[], str]


PROBES: dict[str, Probe] = {}


def add(name: str, category: str, says: str, attempt: Callable[[], str]) -> None:
    assert name not in PROBES, name
    PROBES[name] = Probe(name, category, says, attempt)


def probe(category: str, says: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    def register(attempt: Callable[[], str]) -> Callable[[], str]:
        add(attempt.__name__.replace("_", "-"), category, says, attempt)
        return attempt

    return register


def call(number: int, *args: object) -> int:
    """A system call by its number. Raises OSError."""
    # As long: a Python int would go as C's 32-bit int, with the upper half left to chance.
    words = (ctypes.c_long(word) if isinstance(word, int) else word for word in (number, *args))
    done = libc.syscall(*words)
    if done == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(done)


def first(*attempts: Callable[[], str]) -> str:
    """What the first attempt that gets through returns; if none does, all refusals are told."""
    refused: list[str] = []
    for attempt in attempts:
        try:
            return attempt()
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            refused.append(errno.errorcode[error.errno or 0])
        except Held as held:
            refused.append(str(held))
    raise Held(", ".join(dict.fromkeys(refused)))


def writable(path: str) -> str:
    """Open for writing, never write."""
    os.close(os.open(path, os.O_WRONLY))
    return f"opened {path} for writing"


def text(path: str) -> str:
    """Of a file of /proc or /sys: what can be read, possibly in part."""
    return Path(path).read_text(errors="replace")


def judge(attempt: Callable[[], str]) -> str:
    """One line that begins with held, ESCAPED, measured or BROKEN."""
    try:
        line = f"ESCAPED: {attempt()}"
    except Held as held:
        line = f"held: {held}"
    except Measured as measured:
        line = f"measured: {measured}"
    except TimeoutError:
        line = "held: no answer"
    except OSError as error:
        word = "held" if error.errno in REFUSALS else "BROKEN"
        line = f"{word}: {errno.errorcode.get(error.errno or 0, '?')}"
    except Exception as error:  # noqa: BLE001 told to the reader, who sees the probe fail
        line = f"BROKEN: {type(error).__name__}: {error}"
    return " ".join(line.split())[:300]


def apart(attempt: Callable[[], str]) -> str:
    """The verdict of a child process: what it changes, holds or dies of stays its own, and goes with it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            os.write(write, f"{judge(attempt)}\n".encode())
        finally:
            os._exit(0)
    os.close(write)
    said, deadline = b"", time.monotonic() + SECONDS
    # Up to its newline: children that it leaves behind keep the pipe open.
    while not said.endswith(b"\n"):
        if not select.select([read], [], [], max(0.0, deadline - time.monotonic()))[0]:
            said = f"BROKEN: silent for {SECONDS:.0f} s\n".encode()
            os.kill(child, signal.SIGKILL)
            break
        piece = os.read(read, 4096)
        if not piece:
            break
        said += piece
    os.close(read)
    _, status = os.waitpid(child, 0)
    return said.decode().strip() or _died(status)


def _died(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return "BROKEN: said nothing"
    name = signal.Signals(os.WTERMSIG(status)).name
    return f"held: killed by {name}" if name == "SIGSYS" else f"BROKEN: died of {name}"


def main(names: list[str]) -> None:
    """Each named probe; a line `NAME<tab>VERDICT` when it is known."""
    for name in names:
        verdict = apart(PROBES[name].attempt)
        sys.stdout.write(f"{name}\t{verdict}\n")
        sys.stdout.flush()
