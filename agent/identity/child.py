"""Asks a short-lived process that alone imports cryptography (docs/decisions/0048)."""

import asyncio
import contextlib
import sys
from pathlib import Path

from agent.errors import AwayError, RefusedError, StorageError

_TIMEOUT_SECONDS = 60.0  # a Raspberry Pi under load imports cryptography in a few seconds


async def ask(program: Path, stdin: bytes, *arguments: str, refusal: str) -> bytes:
    """The stdout of `program` (a file of ours: exit 3 = refused, 4 = the disk; the last line of stderr says why).

    Raises RefusedError(BAD_REQUEST) that begins with `refusal`, StorageError, AwayError.
    """
    # No preexec_fn, user or group: those fork for real, and a fork beside a live gRPC channel dies in one of ten.
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(program),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8"},
        )
    except OSError as fault:  # no process or no memory left for one: it passes
        raise AwayError(f"{program.name} {arguments[0]} can't be started: {fault.strerror}") from fault
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, error = await child.communicate(stdin)
    except TimeoutError:
        raise AwayError(f"{program.name} {arguments[0]} took longer than {_TIMEOUT_SECONDS:.0f} s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    reason = error.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    match child.returncode:
        case 0:
            return out
        case 3:
            raise RefusedError("BAD_REQUEST", f"{refusal}: {reason}")
        case 4:
            raise StorageError(f"the key can't be written or read: {reason}")
        case code if code is not None and code < 0:  # the box ran out of memory, or somebody ended it
            raise AwayError(f"{program.name} {arguments[0]} was killed by signal {-code}")
        case code:
            raise RuntimeError(f"{program.name} {arguments[0]} ended with {code}: {reason}")
