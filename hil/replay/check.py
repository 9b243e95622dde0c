"""What the agent's own code finds on a rebuilt disk, held against what had been promised when the power went."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.errors import EdgeError
from agent.identity import store as identity_store
from agent.jobs.store import JobStore
from agent.link import desired
from agent.model import RecordClass
from agent.mqtt.access.accounts_file import AccountsFile
from agent.mqtt.commands.queue_file import QueueFile
from agent.mqtt.registry.registry_file import RegistryFile
from agent.mqtt.rules.held_file import open_held
from agent.spool.journal import open_journal
from agent.spool.record import MAX_SEQ
from storeedge.v1 import desired_pb2, record_pb2

_CLOCK = Clock(boot_id="00000000-0000-0000-0000-000000000000")
_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Promise:
    """Of all that was promised before some moment: by topic, how many messages from 0 on; by job, run names."""

    acked: dict[str, int] = field(default_factory=dict[str, int])
    runs: frozenset[str] = frozenset()

    @staticmethod
    def before(point: int, marks: Sequence[tuple[int, dict[str, Any]]]) -> "Promise":
        """Runs add up; the newest mark has all messages."""
        seen = [mark for position, mark in marks if position < point]
        runs = frozenset(run for mark in seen for run in mark["runs"])
        return Promise(dict(seen[-1]["acked"]) if seen else {}, runs)


def check(state: Path, promise: Promise, epoch: str) -> list[str]:
    """What is wrong with /var/lib/edge-agent at `state`, which is changed: opening it recovers it."""
    found: list[str] = []
    for look in (_spool(state, promise, epoch), _jobs(state, promise), _others(state), _integrity(state)):
        try:
            found += look
        except (EdgeError, OSError, ValueError, sqlite3.Error) as why:
            found.append(f"{type(why).__name__}: {why}")
    found += [f"{path.name}: set aside" for path in state.glob("*corrupt*")]
    return found


def _spool(state: Path, promise: Promise, epoch: str) -> Iterator[str]:
    journal = open_journal(state / "spool.db", limit_bytes=_LIMIT_BYTES, epoch="new", clock=_CLOCK)
    if journal.epoch != epoch:
        yield f"spool: another epoch, {journal.epoch}"
    tally = journal.tallies[RecordClass.DEVICE]
    entries = journal.read(RecordClass.DEVICE, tally.acked_seq, max_records=1 << 30, max_bytes=1 << 40)
    journal.close()
    if [entry.seq for entry in entries] != list(range(tally.acked_seq + 1, tally.next_seq)):
        yield "spool: its numbers have a hole"
    if tally.next_seq > MAX_SEQ:
        yield "spool: its numbers make no sense"
    kept: dict[str, set[int]] = {}
    for entry in entries:
        message = record_pb2.Record.FromString(entry.payload).device
        if message.payload.isdigit():
            kept.setdefault(message.topic, set()).add(int(message.payload))
    for topic, count in promise.acked.items():
        missing = set(range(count)) - kept.get(topic, set())
        if missing:
            yield f"spool: {len(missing)} of {count} acknowledged messages of {topic} are missing, first {min(missing)}"


def _jobs(state: Path, promise: Promise) -> Iterator[str]:
    async def load() -> Any:
        store = JobStore(state / "jobs.db")
        try:
            return await store.open(0)
        finally:
            await store.close()

    jobs = asyncio.run(load()).jobs
    for run in promise.runs:
        name, generation, attempt = run.rsplit(".", 2)
        job = jobs.get(name)
        known = (job.spec.generation, job.attempt) if job is not None else (0, 0)
        if known < (int(generation), int(attempt)):
            yield f"jobs: run {run} was begun, and the store knows {known}"


def _others(state: Path) -> Iterator[str]:
    identity_store.load(state)
    with closing(QueueFile(state / "commands.db")) as queue:
        queue.load("new")
    with closing(open_held(state / "held.db", "new")) as held:
        held.topics()
    for file in (AccountsFile(state / "accounts.db", lambda: 0), RegistryFile(state / "devices.sqlite")):
        file.load()
        file.close()
    desired.decode(desired_pb2.Desired.FromString((state / "desired.pb").read_bytes()))
    for name in ("sealing.key", "mqtt-secret"):
        if not (state / name).stat().st_size:
            yield f"{name}: empty"


def _integrity(state: Path) -> Iterator[str]:
    for file in sorted([*state.glob("*.db"), *state.glob("*.sqlite")]):
        with closing(sqlite3.connect(file)) as db:
            said = [row[0] for row in db.execute("PRAGMA integrity_check")]
        if said != ["ok"]:
            yield f"{file.name}: {said[:3]}"
