"""The sandbox with real parts: launcher process, conmon, an OCI runtime, this machine's kernel."""

import asyncio
import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import AwayError, RefusedError
from agent.launcher import cgroup
from agent.launcher.layout import Tree
from agent.sandbox import JobRequest, RunState, Sandbox
from tests.launched import Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
MIB = 1 << 20


@pytest.fixture(params=["runc", "crun"], scope="module")
def launcher(request: pytest.FixtureRequest) -> Iterator[Launched]:
    with launched(request.param) as one:
        yield one


@pytest.fixture
def sandbox(launcher: Launched) -> Sandbox:
    return Sandbox(launcher.socket)


_count = iter(range(1000))


def job(script: str, **changes: object) -> JobRequest:
    request = JobRequest(
        run=f"job-{next(_count)}", tenant="acme", job="a", image="host", command=("/bin/sh", "-c", script),
        cpu_milli=1000, memory_bytes=64 * MIB, pids=64, log_bytes=256 * 1024, tmp_bytes=4 * MIB,
    )  # fmt: skip
    return replace(request, **changes)  # type: ignore[arg-type]  # the test's own keywords


async def readable(fd: int, seconds: float = 30.0) -> None:
    ready = await asyncio.to_thread(select.select, [fd], [], [], seconds)
    assert ready[0], f"nothing happened for {seconds} s"


async def over(sandbox: Sandbox, run: str) -> RunState:
    state, fd = await sandbox.watch(run)
    if fd is not None:
        try:
            await readable(fd)
        finally:
            os.close(fd)
        state = await sandbox.state(run)
    return state


async def output(sandbox: Sandbox, run: str) -> str:
    """Both streams, with conmon's time and stream names taken away."""
    fd = await sandbox.open_log(run)
    with os.fdopen(fd) as log:
        lines = [line.split(" ", 3) for line in log]
    return "".join(text.rstrip("\n") if mark == "P" else text for _, _, mark, text in lines)


async def run(sandbox: Sandbox, script: str, **changes: object) -> tuple[RunState, str]:
    request = job(script, **changes)
    await sandbox.start(request)
    state = await over(sandbox, request.run)
    text = await output(sandbox, request.run)
    await sandbox.remove(request.run)
    return state, text


async def said(sandbox: Sandbox, name: str, word: str) -> None:
    """Until the job has printed `word`."""
    async with asyncio.timeout(20):
        while word not in await output(sandbox, name):
            await asyncio.sleep(0.02)


async def test_a_job_has_no_privilege_and_sees_nothing_of_the_store(sandbox: Sandbox) -> None:
    state, text = await run(
        sandbox,
        "cat /proc/self/status; echo MAP $(cat /proc/self/uid_map) $(cat /proc/self/gid_map); id; ip -o addr; "
        "echo NET; tail -n +3 /proc/net/dev; echo MOUNT; cat /proc/mounts; echo ROOT; ls /; ls /usr/local; "
        "cat /etc/edge-agent/* /etc/shadow /proc/cmdline 2>&1; touch /usr/x /x /etc/x 2>&1; hostname; env; pwd",
    )
    assert state.phase == "ended"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"^{name}:\s+0{{16}}$", text, re.MULTILINE), name
    assert re.search(r"^Seccomp:\s+2$", text, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", text, re.MULTILINE)
    base = int(re.search(r"^MAP 0 (\d+) 65536 0 \1 65536$", text, re.MULTILINE)[1])  # type: ignore[index]  # asserts
    assert base >= 1879048192
    assert base % 65536 == 0
    assert "uid=1000(job) gid=1000(job) groups=1000(job)" in text
    assert "127.0.0.1/8" in text
    devices = text.split("NET\n")[1].split("MOUNT\n")[0].split("\n")
    assert [line.split(":")[0].strip() for line in devices if line] == ["lo"]
    roots = [line.split()[3] for line in text.split("MOUNT\n")[1].splitlines() if line.split()[1:2] == ["/"]]
    assert roots[0].startswith("ro,")
    assert text.split("ROOT\n")[1].split("cat:")[0].split() == [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib64",
        "proc",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var",
        "work",
    ]
    assert "edge-agent" not in text.replace("/etc/edge-agent/*", "")
    assert text.count("Read-only file system") == 3
    assert "/etc/shadow: No such file" in text
    assert "\njob\n" in text
    assert text.endswith("/work\n")


async def test_a_job_writes_only_to_its_own_bounded_memory(sandbox: Sandbox) -> None:
    state, text = await run(
        sandbox,
        "echo a >/work/a && echo b >/tmp/b && cat /work/a /tmp/b; "
        "head -c 9000000 /dev/zero >/work/big; stat -c %s /work/big",
    )
    assert text.startswith("a\nb\n")
    assert "No space left on device" in text
    assert text.endswith(f"{4 * MIB - 4096}\n")
    assert state.exit_code == 0


async def test_no_two_live_runs_share_user_ids(sandbox: Sandbox) -> None:
    requests = [job("cat /proc/self/uid_map; sleep 60") for _ in range(3)]
    bases = set()
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(sandbox.start(request))
    for request in requests:
        await said(sandbox, request.run, "65536")
        bases.add((await output(sandbox, request.run)).split()[1])
        await sandbox.signal(request.run, "KILL")
        await over(sandbox, request.run)
        await sandbox.remove(request.run)
    assert len(bases) == 3


@pytest.mark.parametrize("code", [0, 7, 255])
async def test_the_exit_code_is_the_jobs(sandbox: Sandbox, code: int) -> None:
    state, _ = await run(sandbox, f"exit {code}")
    assert (state.phase, state.exit_code, state.pid, state.oom_killed) == ("ended", code, 0, False)
    assert 0 < state.started_unix_nano <= state.ended_unix_nano


async def test_a_command_that_does_not_exist_ends_as_a_shell_would_say(sandbox: Sandbox) -> None:
    request = replace(job(""), command=("/bin/there-is-no-such-thing",))
    await sandbox.start(request)
    state = await over(sandbox, request.run)
    assert state.exit_code in (1, 127)
    await sandbox.remove(request.run)


async def test_a_memory_bomb_is_killed_and_nobody_else_is_disturbed(sandbox: Sandbox) -> None:
    neighbour = job("while :; do echo tick; sleep 0.05; done")
    await sandbox.start(neighbour)
    before = await sandbox.state(neighbour.run)
    state, _ = await run(sandbox, "exec python3 -c 'x = bytearray(400 << 20)'", memory_bytes=32 * MIB)
    assert (state.oom_killed, state.exit_code) == (True, 137)
    after = await sandbox.state(neighbour.run)
    assert (after.phase, after.pid, after.oom_killed) == ("running", before.pid, False)
    await sandbox.signal(neighbour.run, "KILL")
    assert (await over(sandbox, neighbour.run)).exit_code == 137
    await sandbox.remove(neighbour.run)


async def test_a_fork_bomb_stops_at_the_limit(sandbox: Sandbox) -> None:
    script = """
import os, time
n = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        n += 1
except OSError as error:
    print(n, error)
"""
    state, text = await run(sandbox, f"exec python3 -c '{script}'", pids=20)
    assert re.search(r"^1\d Resource temporarily unavailable|^1\d \[Errno 11\]", text), text
    assert state.exit_code == 0


_SYSCALL = "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print({}, ctypes.get_errno())'"


FORBIDDEN = {
    "userns": ("unshare -U true", "Operation not permitted"),
    "netns": ("unshare -n true", "Operation not permitted"),
    "mount": ("mount -t tmpfs x /tmp", "permission denied|must be superuser|Operation not permitted"),
    "mknod": ("mknod /tmp/d b 1 1", "Operation not permitted"),
    "keyctl": (_SYSCALL.format("l.syscall(250, 0, 0)"), "-1 1"),
    "clone3": (_SYSCALL.format("l.syscall(435, 0, 0)"), "-1 38"),
    "io_uring": (_SYSCALL.format("l.syscall(425, 1, 0)"), "-1 1"),
    "ptrace": (_SYSCALL.format("l.ptrace(0, 0, 0, 0)"), "-1 1"),
    "AF_ALG": ("python3 -c 'import socket; socket.socket(38, socket.SOCK_SEQPACKET)'", "PermissionError"),
    "AF_PACKET": ("python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'", "PermissionError"),
    "AF_VSOCK": ("python3 -c 'import socket; socket.socket(40, 1)'", "PermissionError"),
}


async def test_the_kernel_says_no(sandbox: Sandbox) -> None:
    """All in one run: what one of them changed would show in the next."""
    script = "".join(f"echo '== {name}'; {tried} 2>&1\n" for name, (tried, _) in FORBIDDEN.items())
    _, text = await run(sandbox, script)
    said = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in text.split("== ")[1:]}
    assert said.keys() == FORBIDDEN.keys()
    assert {name: said[name] for name, (_, no) in FORBIDDEN.items() if not re.search(no, said[name])} == {}


async def test_term_reaches_the_program_and_kill_ends_what_ignores_it(sandbox: Sandbox) -> None:
    polite = job("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    stubborn = job("trap '' TERM; echo up; while :; do sleep 0.05; done")
    for request in (polite, stubborn):
        await sandbox.start(request)
        await said(sandbox, request.run, "up")
        await sandbox.signal(request.run, "TERM")
    assert (await over(sandbox, polite.run)).exit_code == 9
    assert (await sandbox.state(stubborn.run)).phase == "running"
    with pytest.raises(RefusedError) as refused:
        await sandbox.remove(stubborn.run)
    assert refused.value.reason == "CONFLICT"
    await sandbox.signal(stubborn.run, "KILL")
    assert (await over(sandbox, stubborn.run)).exit_code == 137
    for request in (polite, stubborn):
        await sandbox.signal(request.run, "TERM")  # to a run that is over: nothing
        await sandbox.remove(request.run)


async def test_starting_the_same_run_again_starts_nothing(sandbox: Sandbox) -> None:
    request = job("sleep 60")
    first, second = await sandbox.start(request), await sandbox.start(request)
    assert first == second
    assert [state.run for state in await sandbox.list_runs()] == [request.run]
    await sandbox.signal(request.run, "KILL")
    await over(sandbox, request.run)
    await sandbox.remove(request.run)
    assert await sandbox.list_runs() == ()
    with pytest.raises(RefusedError) as refused:
        await sandbox.state(request.run)
    assert refused.value.reason == "NOT_FOUND"


async def test_a_flood_of_output_is_bounded_and_costs_little(sandbox: Sandbox, launcher: Launched) -> None:
    request = job("yes", log_bytes=100_000)
    await sandbox.start(request)
    record = (launcher.state_dir / "runs" / request.run / "record.json").read_text()
    monitor = int(re.search(r'"monitor": \{"pid": (\d+)', record)[1])  # type: ignore[index]  # asserts by itself

    def monitor_seconds() -> float:
        fields = Path(f"/proc/{monitor}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    begin, used = time.monotonic(), monitor_seconds()
    sizes = []
    while time.monotonic() - begin < 1.2:
        fd = await sandbox.open_log(request.run)
        sizes.append(os.fstat(fd).st_size)
        os.close(fd)
        await asyncio.sleep(0.1)
    assert 0 < max(sizes) <= 120_000
    assert (monitor_seconds() - used) / (time.monotonic() - begin) < 0.2
    await sandbox.signal(request.run, "KILL")
    await over(sandbox, request.run)
    await sandbox.remove(request.run)


async def test_usage_counts_what_the_job_used_and_keeps_it_after_the_end(sandbox: Sandbox) -> None:
    spin = "import time\nwhile time.process_time() < 0.4: pass"
    request = job(f"python3 -c '{spin}'; echo done; sleep 60")
    await sandbox.start(request)
    await said(sandbox, request.run, "done")
    live = await sandbox.usage(request.run)
    assert 0.3e9 < live.cpu_nano < 5e9
    assert live.pids >= 2
    assert 0 < live.memory_bytes <= live.memory_peak_bytes <= 64 * MIB
    await sandbox.signal(request.run, "KILL")
    await over(sandbox, request.run)
    final = await sandbox.usage(request.run)
    assert final.cpu_nano >= live.cpu_nano
    assert final.pids == 0
    await sandbox.remove(request.run)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
async def test_runs_live_on_without_the_launcher_and_are_found_again(
    sandbox: Sandbox, launcher: Launched, number: signal.Signals
) -> None:
    lasting = job("trap 'echo bye; exit 42' TERM; echo up; while :; do sleep 0.05; done")
    ending = job("trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done")
    for request in (lasting, ending):
        await sandbox.start(request)
        await said(sandbox, request.run, "up")
    before = await sandbox.state(lasting.run)
    ending_pid = (await sandbox.state(ending.run)).pid
    ended = os.pidfd_open(ending_pid)
    code = launcher.end(number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    with pytest.raises(AwayError):
        await sandbox.hello()
    os.kill(ending_pid, signal.SIGTERM)  # it ends while nobody is there
    await readable(ended)
    os.close(ended)
    launcher.start()
    assert await sandbox.state(lasting.run) == before
    state = await over(sandbox, ending.run)
    assert (state.phase, state.exit_code) == ("ended", 5)
    await sandbox.signal(lasting.run, "TERM")
    assert (await over(sandbox, lasting.run)).exit_code == 42
    assert "bye" in await output(sandbox, lasting.run)
    for request in (lasting, ending):
        await sandbox.remove(request.run)


async def test_a_run_whose_monitor_was_killed_is_lost_and_leaves_no_process(
    sandbox: Sandbox, launcher: Launched
) -> None:
    request = job("while :; do sleep 0.05; done")
    state = await sandbox.start(request)
    record = (launcher.state_dir / "runs" / request.run / "record.json").read_text()
    os.kill(int(re.search(r'"monitor": \{"pid": (\d+)', record)[1]), signal.SIGKILL)  # type: ignore[index]  # asserts
    state_after = await over(sandbox, request.run)
    assert (state_after.phase, state_after.exit_code, state_after.pid) == ("lost", None, 0)
    with contextlib.suppress(FileNotFoundError):
        assert Path(f"/proc/{state.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    await sandbox.remove(request.run)


async def test_a_start_that_was_cut_short_is_cleaned_and_can_be_asked_again(
    sandbox: Sandbox, launcher: Launched
) -> None:
    request = job("echo up; sleep 60")
    first = await sandbox.start(request)
    launcher.end(signal.SIGKILL)
    path = launcher.state_dir / "runs" / request.run / "record.json"
    path.write_text(path.read_text().replace('"stage": "running"', '"stage": "starting"'))
    launcher.start()
    assert await sandbox.list_runs() == ()
    assert not Path(f"/proc/{first.pid}").exists() or "Z" in Path(f"/proc/{first.pid}/stat").read_text()
    again = await sandbox.start(request)
    assert again.pid != first.pid
    await sandbox.signal(request.run, "KILL")
    await over(sandbox, request.run)
    await sandbox.remove(request.run)


async def test_the_launcher_is_small_and_has_no_internet_socket(sandbox: Sandbox, launcher: Launched) -> None:
    await run(sandbox, "true")
    inodes = {str(path.readlink()) for path in Path(f"/proc/{launcher.pid}/fd").iterdir()}
    sockets = {name[8:-1] for name in inodes if name.startswith("socket:")}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "packet"):
        lines = Path(f"/proc/{launcher.pid}/net/{table}").read_text().splitlines()[1:]
        assert not sockets & {word for line in lines for word in line.split()}, table
    rollup = Path(f"/proc/{launcher.pid}/smaps_rollup").read_text()
    assert int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) <= 13 * 1024  # type: ignore[index]  # asserts


async def test_another_user_is_refused() -> None:
    with launched(agent_uid=12345) as one:
        with pytest.raises(RefusedError) as refused:  # root may connect, and is still not the agent
            await Sandbox(one.socket).hello()
        assert refused.value.reason == "PERMISSION_DENIED"
        script = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(one.socket)!r})"
        done = subprocess.run(["/usr/bin/python3", "-c", script], user=65534, check=False, capture_output=True)
        assert b"PermissionError" in done.stderr


async def test_roots_policy_bounds_what_the_agent_may_ask_and_purge_leaves_nothing() -> None:
    with launched(extra_policy="max_runs = 1\nmax_memory_bytes = 67108864\n") as one:
        sandbox = Sandbox(one.socket)
        with pytest.raises(RefusedError, match="memory_bytes: at most 67108864") as refused:
            await sandbox.start(job("true", memory_bytes=65 * MIB))
        assert refused.value.reason == "PERMISSION_DENIED"
        state = await sandbox.start(job("sleep 600"))
        with pytest.raises(RefusedError) as refused:
            await sandbox.start(job("true"))
        assert refused.value.reason == "NO_ROOM"
        clash = subprocess.run(
            ["python3", "-m", "agent.launcher", "--purge", *one.options()], check=False, capture_output=True
        )
        assert clash.returncode == 1
        assert b"stop it first" in clash.stderr
        one.end()
        one.purge()
        assert one.leftovers() == []
        assert not Path(f"/proc/{state.pid}").exists() or "Z" in Path(f"/proc/{state.pid}/stat").read_text()
        one.start()  # for the fixture's own end


async def test_on_v2_processes_in_the_parent_move_to_a_leaf_and_a_kill_reaches_all() -> None:
    mount = next((path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")) if path.is_mount()), None)
    if mount is None or not (mount / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 here")
    top = f"/edge-test-{os.getpid()}"
    tree = Tree("v2", f"{top}/jobs", (("", mount),), top=top)
    job_group = tree.at("", tree.job("a"))
    job_group.mkdir(parents=True)
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        (tree.at("", top) / "cgroup.procs").write_text(str(sleepers[0].pid))
        for sleeper in sleepers[1:]:
            (job_group / "cgroup.procs").write_text(str(sleeper.pid))
        cgroup.prepare(tree)
        assert (tree.at("", top) / "launcher/cgroup.procs").read_text().split() == [str(sleepers[0].pid)]
        cgroup.kill(tree, tree.run("a"))
        assert [sleeper.wait(10) for sleeper in sleepers[1:]] == [-signal.SIGKILL] * 2
        assert sleepers[0].poll() is None
        assert cgroup.clear(tree, tree.parent)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
        assert cgroup.clear(tree, top)
