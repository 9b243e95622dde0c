"""What is known of every run: each in one hand at a time, on disk before in memory, with ids that nobody else has."""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from agent.launcher import record
from agent.launcher.layout import SLOTS, Host
from agent.launcher.protocol import DISK_ERRORS, JobRequest, LauncherError, NetworkRequest
from agent.launcher.record import Record

_KEY_BYTES = 32
_WAIT_SECONDS = 20.0
_DESTINATIONS = 32_768  # of all runs: at its start a launcher has them put into the kernel at once (1 s on a PC)


class Book:
    def __init__(self, host: Host, max_runs: int, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._host = host
        self._wait_seconds = wait_seconds
        self._max_runs = max_runs
        self._records: dict[str, Record] = {}
        self._busy: set[str] = set()
        self._freed = threading.Condition()

    # --- one run ---

    @contextlib.contextmanager
    def only(self, run: str) -> Generator[None]:
        """Waits until nobody else has `run` in hand. Raises LauncherError(no-room) when that takes too long.

        Who asks has one of the launcher's connections: were all of them to wait for runs whose disks are being checked,
        nobody could ask for another.
        """
        with self._freed:
            if not self._freed.wait_for(lambda: run not in self._busy, self._wait_seconds):
                raise LauncherError("no-room", f"run {run} is being worked on; ask again", "run")
            self._busy.add(run)
        try:
            yield
        finally:
            self._give_back(run)

    @contextlib.contextmanager
    def idle(self, run: str) -> Generator[Record | None]:
        """The record, when nobody has the run in hand; None otherwise, without waiting."""
        with self._freed:
            free = run not in self._busy
            if free:
                self._busy.add(run)
        try:
            yield self._records.get(run) if free else None
        finally:
            if free:
                self._give_back(run)

    def _give_back(self, run: str) -> None:
        with self._freed:
            self._busy.discard(run)
            self._freed.notify_all()

    def known(self, run: str) -> Record:
        """Raises LauncherError(not-found)."""
        try:
            return self._records[run]
        except KeyError:
            raise LauncherError("not-found", f"no run {run}", "run") from None

    def find(self, run: str) -> Record | None:
        return self._records.get(run)

    def every(self) -> list[Record]:
        """A copy: runs may come and go meanwhile."""
        with self._freed:
            return list(self._records.values())

    def learn(self, found: Record) -> None:
        """In memory alone: it is what the disk says."""
        self._records[found.run] = found

    def keep(self, new: Record) -> Record:
        record.write(self._host.places.run(new.run).record, new)
        self._records[new.run] = new
        return new

    def keep_if_room(self, new: Record) -> Record:
        """In memory alone when the disk is full: all that `new` adds can be seen again in the exit file and cgroup."""
        try:
            return self.keep(new)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
        self._records[new.run] = new
        return new

    def forget(self, run: str) -> None:
        with self._freed:
            self._records.pop(run, None)

    # --- room for another ---

    def reserve(self, request: JobRequest, *, held: bool, fingerprint: str) -> Record:
        """A range of user ids that no other run has, and, unless it is `held`, a place among those that may run.

        What the run claims of others' (a published port, the disk) is claimed with it. Raises LauncherError(no-room).
        """
        with self._freed:
            known = list(self._records.values())
            if not held:
                self._have_place(known)
            slot = min(set(range(SLOTS)) - {found.slot for found in known}, default=None)
            if slot is None:
                raise LauncherError("no-room", f"{SLOTS} runs are kept; remove ended ones")
            disk = os.statvfs(self._host.places.logs)
            room = disk.f_blocks * disk.f_frsize // 2 - sum(found.log_bytes for found in known)
            if request.log_bytes > room:  # it is /run, which all of the machine's services need
                raise LauncherError("no-room", f"{max(0, room)} bytes are left for logs; remove ended runs")
            _have_ports(request, known)
            _have_destinations(request.run, request.network, known)
            _have_disk(request, known)
            fresh = Record(
                run=request.run,
                tenant=request.tenant,
                slot=slot,
                boot_id=self._host.facts.boot_id,
                log_bytes=request.log_bytes,
                job_name=request.job,
                image=request.image,
                disk_bytes=request.disk_bytes,
                network=request.network,
                mark=(int.from_bytes(os.urandom(4), "big") or 1) if request.network else 0,
                check=request.check,
                fingerprint=fingerprint,
            )
            self._records[fresh.run] = fresh
            return fresh

    def take_place(self, held: Record) -> Record:
        """For a held run that is to go on: it counts from now on. Raises LauncherError(no-room)."""
        with self._freed:
            self._have_place(list(self._records.values()))
            taken = self._records[held.run] = replace(held, stage="created")
            return taken

    def _have_place(self, known: list[Record]) -> None:
        live = sum(not found.over and found.stage != "held" for found in known)
        if live >= self._max_runs:
            raise LauncherError("no-room", f"{live} runs are running, the most that is allowed here")

    def have_destinations(self, run: str, network: NetworkRequest) -> None:
        """For a run that is to reach something else. Raises LauncherError(no-room)."""
        _have_destinations(run, network, self.every())

    def unless_used(self, used: Callable[[Record], bool], what: str) -> None:
        """Raises LauncherError(conflict) when a run that isn't over uses it."""
        user = next((found.run for found in self.every() if not found.over and used(found)), None)
        if user is not None:
            raise LauncherError("conflict", f"{what} is in use by run {user}")


def _have_ports(request: JobRequest, known: list[Record]) -> None:
    """Raises LauncherError(conflict): a port of this machine leads to one run."""
    wanted = {(one.port, one.protocol) for one in (request.network.publish if request.network else ())}
    for found in known:
        for one in found.network.publish if found.network and not found.over else ():
            if (one.port, one.protocol) in wanted:
                raise LauncherError("conflict", f"publish: port {one.port} leads to run {found.run}", "publish")


def _have_destinations(run: str, network: NetworkRequest | None, known: list[Record]) -> None:
    """Raises LauncherError(no-room)."""
    wanted = len(network.reach.destinations) if network else 0
    taken = sum(len(one.network.reach.destinations) for one in known if one.network and not one.over and one.run != run)
    if wanted and taken + wanted > _DESTINATIONS:
        raise LauncherError("no-room", f"runs here reach {taken} destinations, of {_DESTINATIONS}", "destinations")


def _have_disk(request: JobRequest, known: list[Record]) -> None:
    """Raises LauncherError(conflict): a disk is of one run at a time."""
    for found in known if request.disk_bytes else ():
        if not found.over and found.disk_bytes and (found.tenant, found.job_name) == (request.tenant, request.job):
            raise LauncherError("conflict", f"the disk of {request.tenant}/{request.job} is in use by run {found.run}")


def boot_key(path: Path) -> bytes:
    """A secret of this boot's, made by the first that asks. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
    return path.read_bytes()
