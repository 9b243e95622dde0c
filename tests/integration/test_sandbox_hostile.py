"""What a hostile job tries against the host that it shares with others, with real parts."""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError
from agent.sandbox import JobRequest, Sandbox
from tests.launched import Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
MIB = 1 << 20

_GREEDY = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
queue = (ctypes.c_long * 8)(0, 10, 8192)
context, timer = ctypes.c_void_p(), ctypes.c_void_p()
for call in (
    lambda n: libc.inotify_init1(0),
    lambda n: libc.syscall(206, 60000, ctypes.byref(context)) if n == 0 else -1,
    lambda n: libc.timer_create(1, None, ctypes.byref(timer)),
    lambda n: libc.mq_open(b"/q%d" % n, 0o102, 0o600, ctypes.byref(queue)) if n < 900 else -1,
):
    n = 0
    while call(n) >= 0:
        n += 1
    print(n, flush=True)
print("holding", flush=True)
time.sleep(600)
"""
# As root of the host, in a process that holds none of these yet.
_HOST = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
queue = (ctypes.c_long * 8)(0, 10, 8192)
context, timer = ctypes.c_void_p(), ctypes.c_void_p()
print(
    libc.inotify_init1(0) >= 0,
    libc.syscall(206, 8000, ctypes.byref(context)) == 0,
    libc.timer_create(1, None, ctypes.byref(timer)) == 0,
    libc.mq_open(b"/host-of-test", 0o102, 0o600, ctypes.byref(queue)) >= 0,
)
libc.mq_unlink(b"/host-of-test")
"""


@pytest.fixture(params=["runc", "crun"], scope="module")
def launcher(request: pytest.FixtureRequest) -> Iterator[Launched]:
    with launched(request.param) as one:
        yield one


def job(name: str, *command: str) -> JobRequest:
    return JobRequest(
        run=name, tenant="acme", job="a", image="host", command=command, cpu_milli=1000, memory_bytes=256 * MIB,
        pids=64, log_bytes=256 * 1024, tmp_bytes=4 * MIB,
    )  # fmt: skip


async def output(sandbox: Sandbox, run: str) -> str:
    with os.fdopen(await sandbox.open_log(run)) as log:
        return "".join(line.split(" ", 3)[3] for line in log)


async def said(sandbox: Sandbox, run: str, word: str) -> str:
    async with asyncio.timeout(30):
        while word not in (text := await output(sandbox, run)):
            await asyncio.sleep(0.02)
    return text


async def end(sandbox: Sandbox, run: str) -> None:
    await sandbox.signal(run, "KILL")
    _, fd = await sandbox.watch(run)
    if fd is not None:
        await asyncio.to_thread(select.select, [fd], [], [], 30)
        os.close(fd)
    await sandbox.remove(run)


def host_can() -> str:
    return subprocess.run([sys.executable, "-c", _HOST], check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of io_setup is x86-64's")
async def test_a_job_takes_nothing_that_is_counted_against_root_of_the_host(launcher: Launched) -> None:
    if "False" in host_can():
        pytest.skip("somebody else has used it up")
    sandbox = Sandbox(launcher.socket)
    await sandbox.start(job("greedy", "/usr/bin/python3", "-c", _GREEDY))
    text = await said(sandbox, "greedy", "holding")
    assert host_can() == "True True True True\n", text
    inotify, contexts, timers, queues = map(int, text.split()[:4])
    assert (inotify, contexts, queues) == (0, 0, 0)
    assert 0 < timers <= 64
    await end(sandbox, "greedy")


def host_may_set_oom_scores() -> bool:
    """CAP_SYS_RESOURCE is 24 (capabilities(7)); some containers and build machines lack it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


@pytest.mark.skipif(not host_may_set_oom_scores(), reason="needs CAP_SYS_RESOURCE")
async def test_a_job_cannot_make_itself_the_last_to_be_killed(launcher: Launched) -> None:
    script = (
        "cat /proc/self/oom_score_adj; echo 499 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj; echo holding"
    )
    sandbox = Sandbox(launcher.socket)
    await sandbox.start(job("important", "/bin/sh", "-c", f"{script}; sleep 600"))
    text = await said(sandbox, "important", "holding")
    assert "Permission denied" in text
    assert text.split()[0] == text.split()[-2] == "500"
    await end(sandbox, "important")


async def test_a_full_disk_leaves_every_run_in_hand(launcher: Launched) -> None:
    """The launcher's disk is full: what runs can be seen and ended, and the launcher starts again."""
    launcher.end()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "x", str(launcher.state_dir)], check=True)
    try:
        launcher.start()
        sandbox = Sandbox(launcher.socket)
        for name in ("stays", "goes"):
            await sandbox.start(job(name, "/bin/sh", "-c", "echo up; sleep 600"))
            await said(sandbox, name, "up")
        with contextlib.suppress(OSError), (launcher.state_dir / "fill").open("wb", buffering=0) as fill:
            while True:
                fill.write(bytes(4096))
        with pytest.raises(StorageError):
            await sandbox.start(job("more", "/bin/true"))
        await sandbox.signal("goes", "KILL")
        _, fd = await sandbox.watch("goes")
        if fd is not None:
            await asyncio.to_thread(select.select, [fd], [], [], 30)
            os.close(fd)
        # the exit code is not on that disk
        expected = [("goes", "ended", 137), ("stays", "running", None)]
        assert [(state.run, state.phase, state.exit_code) for state in await sandbox.list_runs()] == expected
        launcher.end()
        launcher.start()
        assert [(state.run, state.phase, state.exit_code) for state in await sandbox.list_runs()] == expected
        await sandbox.remove("goes")
        await end(sandbox, "stays")
        assert await sandbox.list_runs() == ()
    finally:
        launcher.end()
        launcher.purge()
        subprocess.run(["umount", str(launcher.state_dir)], check=True)
        launcher.start()
