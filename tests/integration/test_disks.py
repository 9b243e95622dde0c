"""Disks of jobs with real parts: launcher process, OCI runtime, loop devices, ext4."""

import asyncio
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import RefusedError
from agent.launcher import disk
from agent.launcher.layout import Places
from agent.sandbox import DiskState, JobRequest, Sandbox
from tests.launched import Launched, launched

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
MIB = 1 << 20


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launched]:
    """A disk is mounted before there is a runtime; with crun one is tried in test_unpack_real."""
    with launched("runc") as one:
        yield one


@pytest.fixture
def sandbox(launcher: Launched) -> Iterator[Sandbox]:
    yield Sandbox(launcher.socket)
    assert traces(launcher) == []


def traces(launcher: Launched) -> list[str]:
    """What a run with a disk must not leave: loop devices and mounts."""
    devices = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in devices + mounts if str(launcher.directory) in line]


_count = iter(range(1000))


def job(script: str, name: str, **changes: object) -> JobRequest:
    request = JobRequest(
        run=f"{name}-{next(_count)}", tenant="acme", job=name, image="host", command=("/bin/sh", "-c", script),
        cpu_milli=1000, memory_bytes=64 * MIB, pids=64, log_bytes=256 * 1024, tmp_bytes=4 * MIB, disk_bytes=16 * MIB,
    )  # fmt: skip
    return replace(request, **changes)  # type: ignore[arg-type]  # the test's own keywords


async def finished(sandbox: Sandbox, run: str) -> tuple[int | None, str]:
    """Exit code and output, once it is over."""
    state, fd = await sandbox.watch(run)
    if fd is not None:
        assert (await asyncio.to_thread(select.select, [fd], [], [], 60))[0]
        os.close(fd)
    while (state := await sandbox.state(run)).phase == "running":  # the exit file comes a little later
        await asyncio.sleep(0.01)
    with os.fdopen(await sandbox.open_log(run)) as log:
        return state.exit_code, "".join(line.split(" ", 3)[3] for line in log)


async def ran(sandbox: Sandbox, request: JobRequest) -> tuple[int | None, str]:
    """As finished; the run is removed."""
    await sandbox.start(request)
    try:
        return await finished(sandbox, request.run)
    finally:
        await sandbox.remove(request.run)


def file(launcher: Launched, name: str, tenant: str = "acme") -> Path:
    return disk.file(Places(launcher.state_dir, launcher.directory / "run"), tenant, name)


def sound(path: Path) -> bool:
    return subprocess.run(["e2fsck", "-f", "-n", path], capture_output=True, check=False).returncode == 0


async def test_what_a_run_writes_the_next_finds_as_its_own(sandbox: Sandbox) -> None:
    first = job("echo kept > /work/data; mkdir /work/d; touch /work/d/f; chmod 600 /work/data", "keeper")
    await sandbox.start(first)
    assert await finished(sandbox, first.run) == (0, "")
    second = job("cat /work/data; stat -c %u:%g /work/data /work/d/f; echo more >> /work/data; rm -r /work/d", "keeper")
    assert await ran(sandbox, second) == (0, "kept\n1000:1000\n1000:1000\n")  # in another range: the first's is kept
    await sandbox.remove(first.run)
    assert await ran(sandbox, job("cat /work/data; ls -A /work", "keeper")) == (0, "kept\nmore\ndata\n")


async def test_two_runs_at_once_do_not_share_it(sandbox: Sandbox) -> None:
    first = job("exec sleep 60", "both")
    await sandbox.start(first)
    with pytest.raises(RefusedError, match=f"the disk of acme/both is in use by run {first.run}"):
        await sandbox.start(job("true", "both"))
    await sandbox.signal(first.run, "KILL")
    await finished(sandbox, first.run)
    assert await ran(sandbox, job("true", "both")) == (0, "")
    await sandbox.remove(first.run)


async def test_writing_past_the_end_hurts_the_job_alone(sandbox: Sandbox, launcher: Launched) -> None:
    assert await ran(sandbox, job("true", "filler")) == (0, "")
    free = shutil.disk_usage(launcher.directory).free
    code, said = await ran(sandbox, job("dd if=/dev/zero of=/work/big bs=64k; stat -c %s /work/big", "filler"))
    assert "No space left on device" in said and code == 0
    assert 10 * MIB < int(said.split()[-1]) < 16 * MIB
    assert shutil.disk_usage(launcher.directory).free > free - 8 * MIB  # its blocks were reserved before
    assert file(launcher, "filler").stat().st_blocks * 512 >= 16 * MIB
    assert (await ran(sandbox, job("rm /work/big && echo again > /work/small", "filler")))[0] == 0


async def test_using_up_the_inodes_hurts_the_job_alone(sandbox: Sandbox) -> None:
    script = "cd /work; i=0; while : > f$i; do i=$((i+1)); done 2>/dev/null; echo $i; rm -rf /work/*; : > again"
    code, said = await ran(sandbox, job(f"sh -c '{script}' || true; ls /work | wc -l", "littering"))
    assert (code == 0 and "cannot create" in said) or int(said.split()[-1]) > 1000
    assert (await ran(sandbox, job("rm -rf /work/*; echo x > /work/again", "littering")))[0] == 0


async def test_a_disk_grows_and_never_shrinks(sandbox: Sandbox, launcher: Launched) -> None:
    size = "echo kept > /work/data; df -B1 --output=size /work | tail -1"
    _, small = await ran(sandbox, job(size, "growing"))
    _, large = await ran(sandbox, job("cat /work/data;" + size, "growing", disk_bytes=48 * MIB))
    assert large.split()[0] == "kept"
    assert int(large.split()[1]) > int(small) + 28 * MIB
    assert DiskState("acme", "growing", 48 * MIB) in await sandbox.disks()
    assert file(launcher, "growing").stat().st_blocks * 512 >= 48 * MIB
    _, after = await ran(sandbox, job(size, "growing", disk_bytes=8 * MIB))
    assert int(after) == int(large.split()[1])
    assert sound(file(launcher, "growing"))


async def test_a_growth_that_a_crash_cut_short_is_finished(sandbox: Sandbox, launcher: Launched) -> None:
    assert (await ran(sandbox, job("echo kept > /work/data", "cut")))[0] == 0
    with file(launcher, "cut").open("r+b") as image:
        os.posix_fallocate(image.fileno(), 0, 40 * MIB)  # the file had grown, what is in it not yet
    code, said = await ran(
        sandbox, job("cat /work/data; df -B1M --output=size /work | tail -1", "cut", disk_bytes=40 * MIB)
    )
    assert code == 0 and said.split()[0] == "kept" and int(said.split()[1]) > 30


async def test_another_tenant_has_another_disk_under_the_same_name(sandbox: Sandbox) -> None:
    assert (await ran(sandbox, job("echo secret > /work/data", "same")))[0] == 0
    assert await ran(sandbox, job("ls -A /work", "same", tenant="rival")) == (0, "")
    assert {DiskState("acme", "same", 16 * MIB), DiskState("rival", "same", 16 * MIB)} <= set(await sandbox.disks())


async def test_the_image_file_is_nowhere_to_be_seen_and_devices_can_not_be_opened(sandbox: Sandbox) -> None:
    script = (
        "cat /proc/self/mountinfo | grep ' /work '; mknod /work/d b 7 0; head -c1 /dev/loop0; echo $?; ls /dev/loop*"
    )
    _, said = await ran(sandbox, job(script, "peeping"))
    assert "nosuid,nodev" in said
    assert "mknod: /work/d: Operation not permitted" in said or "Operation not permitted" in said
    assert "No such file" in said


async def test_after_an_unclean_end_it_is_checked_and_what_was_synced_is_there(
    sandbox: Sandbox, launcher: Launched
) -> None:
    """A copy of the file while it is mounted is what a power cut leaves."""
    request = job("echo kept > /work/data; sync /work/data; echo done; exec sleep 60", "torn")
    await sandbox.start(request)
    log = launcher.directory / "run/logs" / request.run
    while not (log.exists() and "done" in log.read_text()):
        await asyncio.sleep(0.02)
    subprocess.run(["cp", "--sparse=never", file(launcher, "torn"), launcher.directory / "copy.img"], check=True)
    await sandbox.signal(request.run, "KILL")
    await finished(sandbox, request.run)
    await sandbox.remove(request.run)
    (launcher.directory / "copy.img").rename(file(launcher, "torn"))
    assert not disk.is_clean(file(launcher, "torn"))
    assert await ran(sandbox, job("cat /work/data", "torn")) == (0, "kept\n")
    assert disk.is_clean(file(launcher, "torn")) and sound(file(launcher, "torn"))


async def test_a_damaged_disk_is_repaired_before_it_is_mounted(sandbox: Sandbox, launcher: Launched) -> None:
    assert (await ran(sandbox, job("mkdir /work/a; echo kept > /work/data; : > /work/a/b", "sick")))[0] == 0
    commands = "freei /data\nclri /a\nssv state 0\n"
    subprocess.run(["debugfs", "-w", "-f", "-", file(launcher, "sick")], input=commands, text=True, check=True)
    assert not sound(file(launcher, "sick"))
    assert await ran(sandbox, job("cat /work/data", "sick")) == (0, "kept\n")
    assert sound(file(launcher, "sick"))


async def test_a_disk_beyond_repair_says_so(sandbox: Sandbox, launcher: Launched) -> None:
    assert (await ran(sandbox, job("true", "dead")))[0] == 0
    with file(launcher, "dead").open("r+b") as image:
        image.write(os.urandom(16 * MIB))
    with pytest.raises(Exception, match="the disk of acme/dead is damaged"):
        await sandbox.start(job("true", "dead"))
    await sandbox.remove_disk("acme", "dead")
    assert (await ran(sandbox, job("true", "dead")))[0] == 0


async def test_links_in_work_lead_the_launcher_nowhere(sandbox: Sandbox, launcher: Launched) -> None:
    script = (
        "cd /work; ln -s /etc/shadow shadow; ln -s /etc etc; ln -s . loop; ln -s /proc/1/root r;"
        " : > f; ln f hard; mkdir -p deep/er; ln -s ../../../../../../../.. deep/er/up; chmod 000 deep"
    )
    before = sorted(path.name for path in Path("/etc").iterdir())
    assert (await ran(sandbox, job(script, "linker")))[0] == 0
    assert (await ran(sandbox, job("chmod 0755 /work/deep; readlink /work/shadow", "linker"))) == (0, "/etc/shadow\n")
    await sandbox.remove_disk("acme", "linker")
    assert sorted(path.name for path in Path("/etc").iterdir()) == before
    assert not file(launcher, "linker").exists()


async def test_a_disk_in_use_stays_and_an_unknown_one_is_named(sandbox: Sandbox) -> None:
    request = job("exec sleep 60", "busy")
    await sandbox.start(request)
    with pytest.raises(RefusedError, match="in use"):
        await sandbox.remove_disk("acme", "busy")
    await sandbox.signal(request.run, "KILL")
    await finished(sandbox, request.run)
    await sandbox.remove(request.run)
    await sandbox.remove_disk("acme", "busy")
    with pytest.raises(RefusedError, match="no disk"):
        await sandbox.remove_disk("acme", "busy")


async def test_a_killed_launcher_leaves_the_disk_with_the_run_and_nothing_after_it(
    sandbox: Sandbox, launcher: Launched
) -> None:
    request = job("trap 'echo kept > /work/data; exit 0' TERM; while :; do sleep 0.05; done", "survivor")
    await sandbox.start(request)
    launcher.end(signal.SIGKILL)
    launcher.start()
    assert (await sandbox.state(request.run)).phase == "running"
    with pytest.raises(RefusedError, match="in use"):
        await sandbox.remove_disk("acme", "survivor")
    await sandbox.signal(request.run, "TERM")
    assert (await finished(sandbox, request.run))[0] == 0
    assert traces(launcher) == []
    assert await ran(sandbox, job("cat /work/data", "survivor")) == (0, "kept\n")
    await sandbox.remove(request.run)


async def test_a_disk_that_finds_no_room_is_refused_and_leaves_nothing(sandbox: Sandbox, launcher: Launched) -> None:
    with pytest.raises(Exception, match=r"disk_bytes: .* bytes more are asked, the disk has"):
        await sandbox.start(job("true", "huge", disk_bytes=1 << 40))
    assert list(file(launcher, "huge").parent.glob("huge*")) == []


async def test_the_disk_is_no_faster_than_asked(sandbox: Sandbox) -> None:
    script = "dd if=/dev/zero of=/work/f bs=256k count=16 oflag=direct 2>/dev/null"
    began = time.monotonic()
    assert (await ran(sandbox, job(script, "slow", io_bytes_per_second=2 * MIB)))[0] == 0
    assert time.monotonic() - began > 1.5
