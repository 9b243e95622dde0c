"""A child process with bounds: on the files it writes, on all of them together, on the time it may move nothing."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.errors import AwayError, CorruptError
from agent.jobs.images.blobs import in_thread

_POLL_SECONDS = 0.25
_MOST_FILES = 5000
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")


async def run(
    argv: Sequence[str],
    place: Path,
    *,
    file_bytes: int,
    more_bytes: int,
    stall_seconds: float,
    moved: Callable[[int], None] = lambda _: None,
) -> int:
    """The exit code. What it says is in `place`/out and `place`/err; `place` is also its home and working directory.

    Raises CorruptError when `place` grows by more than `more_bytes`, AwayError when it doesn't grow or change for
    `stall_seconds`; the child is then dead. `moved` hears the bytes in `place`.
    """
    most_bytes = await in_thread(size_of, place) + more_bytes
    bounded = [
        # Dies with the agent: nobody would watch it. RLIMIT_FSIZE stops a file the moment it is too long.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("prlimit", f"--fsize={file_bytes}", "--"),
        *argv,
    ]
    with contextlib.ExitStack() as files:
        out, err = (files.enter_context((place / name).open("wb")) for name in ("out", "err"))
        try:
            process = await asyncio.create_subprocess_exec(
                *bounded, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err, env=_environment(place), cwd=place
            )
        except OSError as error:
            raise AwayError(f"{bounded[0]}: {error.strerror}; images need util-linux") from error
        try:
            await _watch(process, place, most_bytes, stall_seconds, moved)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return process.returncode or 0


async def _watch(
    process: asyncio.subprocess.Process,
    place: Path,
    most_bytes: int,
    stall_seconds: float,
    moved: Callable[[int], None],
) -> None:
    loop = asyncio.get_running_loop()
    last, since = -1, loop.time()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await process.wait()
                return
        there = await in_thread(size_of, place)
        if there > most_bytes:
            raise CorruptError("more bytes came than the image has")
        if there != last:
            last, since = there, loop.time()
            moved(there)
        elif loop.time() - since > stall_seconds:
            raise AwayError(f"no byte came for {stall_seconds:g} s")


def _environment(place: Path) -> dict[str, str]:
    """Nothing of ours but the way out of the store's network; what goes to HOME and TMPDIR is counted and bounded."""
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    return {**passed, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(place), "TMPDIR": str(place)}


def size_of(place: Path) -> int:
    """Bytes of all files below; very many files count as very many bytes."""
    total = files = 0
    for directory, _, names in os.walk(place):
        files += len(names)
        if files > _MOST_FILES:
            return 1 << 60
        for name in names:
            with contextlib.suppress(OSError):  # renamed in this moment
                total += (Path(directory) / name).lstat().st_size
    return total
