"""Spool and job store on a disk whose writes are recorded here, without a board: what was promised is always there.

The disk is a file of qemu-storage-daemon (blklogwrites); FUSE shows it, a loop device mounts it. On a board: hil/suite.
"""

import asyncio
import json
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.clock import Clock
from agent.jobs.job import Job
from agent.jobs.store import Change, JobStore
from agent.model import JobState, RecordClass
from agent.spool.journal import Journal, open_journal
from agent.spool.record import Draft
from hil.replay import check, rebuild, writes
from hil.replay.check import Promise
from storeedge.v1 import record_pb2
from tests.fakes.jobs import service
from tests.stack import until

FILE_SYSTEM_BYTES = 64 << 20
BLOCK_BYTES = 4096
ROUNDS = 60
POINTS = int(os.environ.get("EDGE_CRASH_POINTS", "40"))
MISSING = [what for what in ("qemu-storage-daemon", "mkfs.ext4", "losetup") if shutil.which(what) is None]
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING) or not Path("/dev/fuse").exists(), reason=f"needs /dev/fuse and {MISSING}"),
]


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


@contextmanager
def recorded(folder: Path) -> Iterator[tuple[Path, Path]]:
    """(where it is mounted, the block device); `folder` has base.raw at once, and log when it is over."""
    data, log, shown, mounted = (folder / name for name in ("data.raw", "log", "shown", "mounted"))
    data.touch()
    os.truncate(data, FILE_SYSTEM_BYTES + (1 << 20))
    run("mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), data, str(FILE_SYSTEM_BYTES // BLOCK_BYTES))
    run("cp", "--sparse=always", data, folder / "base.raw")
    log.touch()
    shown.touch()
    mounted.mkdir()
    daemon = subprocess.Popen(
        [
            *("qemu-storage-daemon", "--blockdev", f"driver=file,node-name=data,filename={data}"),
            *("--blockdev", f"driver=file,node-name=log,filename={log}"),
            "--blockdev",
            "driver=blklogwrites,node-name=writes,file=data,log=log,log-sector-size=512,log-super-update-interval=1",
            *("--export", f"fuse,id=shown,node-name=writes,mountpoint={shown},writable=on"),
        ]
    )
    loop = ""
    try:
        until(lambda: shown.stat().st_size > 0, what="the disk to be shown")
        loop = run("losetup", "-f", "--show", shown)
        run("mount", loop, mounted)
        yield mounted, Path(loop)
    finally:
        with suppress(subprocess.CalledProcessError):
            run("umount", mounted)
        if loop:
            run("losetup", "-d", loop)
        daemon.terminate()
        daemon.wait(10)


async def work(state: Path, device: Path, journal: Journal) -> None:
    """Batches of messages, and a job that is started again and again; after each the promise is marked."""
    store, draw, acked = JobStore(state / "jobs.db"), random.Random(1), 0
    await store.open(0)
    job = Job(service(), JobState.STARTING)
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    block = mmap.mmap(-1, BLOCK_BYTES)
    for attempt in range(1, ROUNDS + 1):
        drafts: list[Draft] = []
        for _ in range(draw.randint(1, 20)):
            record = record_pb2.Record()
            record.device.topic, record.device.payload = "t", str(acked).encode()
            drafts.append(Draft(RecordClass.DEVICE, record.SerializeToString()))
            acked += 1
        journal.append(drafts)
        run_name = f"{job.spec.id}.{job.spec.generation}.{attempt}"
        await store.commit(Change(jobs={job.spec.id: replace(job, attempt=attempt, run=run_name)}))
        block[:] = json.dumps({"acked": {"t": acked}, "runs": [run_name]}).encode().ljust(BLOCK_BYTES, b"\0")
        os.pwrite(fd, block, FILE_SYSTEM_BYTES)
        time.sleep(draw.random() * 0.02)  # the file system's own thread has its say in between
    os.close(fd)
    await store.close()


def faults(folder: Path, point: Path) -> list[str]:
    """Of POINTS moments, what the stores' own code finds missing."""
    entries = list(writes.read(folder / "log"))
    marks = writes.marks(entries, FILE_SYSTEM_BYTES)
    assert len(marks) == ROUNDS
    disk, draw = rebuild.Disk(folder / "base.raw", entries, folder), random.Random(2)
    found: list[str] = []
    # Before the first promise the files may not be there at all.
    for position in sorted(draw.sample(range(marks[0][0] + 1, len(entries) + 1), POINTS)):
        run("mount", "-o", "loop", disk.at(position, draw), point)
        try:
            told = check.check(point, Promise.before(position, marks), "e")
            found += [fault for fault in told if fault.startswith(("spool", "jobs"))]
        finally:
            run("umount", point)
    return found


@pytest.mark.parametrize("synchronous", ["FULL", "OFF"])
def test_what_was_promised_is_there_unless_the_spool_does_not_wait_for_the_disk(
    synchronous: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(tmp_path) as (state, device):
        journal = open_journal(state / "spool.db", limit_bytes=1 << 30, epoch="e", clock=Clock(boot_id="b"))
        db: sqlite3.Connection = journal._db
        db.execute(f"PRAGMA synchronous = {synchronous}")
        asyncio.run(work(state, device, journal))
        journal.close()
    found = faults(tmp_path, tmp_path / "mounted")
    if synchronous == "FULL":
        assert found == []
    else:
        assert any("acknowledged messages" in fault for fault in found)
