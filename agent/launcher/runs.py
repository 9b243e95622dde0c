"""The runs of this launcher: start, find again after a crash, look at, end, remove. The disk is the truth.

A run is in one hand at a time (`_only`); different runs go on side by side. Nothing watches: what became of a run is
read from its exit file, its monitor and its cgroup when somebody asks, so that a restart has nothing to catch up on.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.launcher import cgroup, execute, monitor, plan, policy, record
from agent.launcher.layout import SLOTS, Host
from agent.launcher.monitor import Process
from agent.launcher.protocol import DISK_ERRORS, JobRequest, LauncherError, RunState, Signal, Usage
from agent.launcher.record import Record

_OVER = ("ended", "lost")


class Runs:
    def __init__(
        self,
        host: Host,
        rules: policy.Policy,
        seccomp: Mapping[str, Any],
        wall_nano: Callable[[], int] = time.time_ns,
    ) -> None:
        self._host = host
        self._rules = rules
        self._seccomp = seccomp
        self._wall_nano = wall_nano
        self._records: dict[str, Record] = {}
        self._busy: set[str] = set()
        self._freed = threading.Condition()

    # --- asked for by the agent ---------------------------------------------------------------

    def start(self, request: JobRequest) -> RunState:
        """The run's state; it is started if it wasn't yet. Raises LauncherError and OSError, leaving nothing behind."""
        policy.check(self._rules, request)
        if not self._host.facts.memory_controller:
            raise LauncherError("host", "no memory controller: add cgroup_enable=memory to the kernel's command line")
        with self._only(request.run):
            known = self._records.get(request.run)
            if known:
                return self._settle(known).state()
            fresh = self._reserve(request)
            try:
                self._host.places.run(fresh.run).directory.mkdir(mode=0o711, exist_ok=True)
                self._keep(fresh)
                steps = plan.start(request, fresh.slot, self._host, self._seccomp)
                execute.perform(steps, created=lambda m, j: self._created(fresh, m, j))
                return self._keep(replace(self._records[fresh.run], stage="running")).state()
            except BaseException:
                self._abandon(fresh)
                raise

    def states(self) -> list[RunState]:
        found: list[RunState] = []
        for run in sorted(self._records):
            with contextlib.suppress(LauncherError):  # removed meanwhile
                found.append(self.state(run))
        return found

    def state(self, run: str) -> RunState:
        with self._only(run):
            return self._settle(self._known(run)).state()

    def watch(self, run: str) -> tuple[RunState, int | None]:
        """The state, and a descriptor (the caller's to close) that is readable when the run is over."""
        with self._only(run):
            found = self._settle(self._known(run))
            if found.stage in _OVER:
                return found.state(), None
            fd = monitor.open_pidfd(found.monitor)
            return (found if fd is not None else self._settle(found)).state(), fd

    def signal(self, run: str, name: Signal) -> None:
        with self._only(run):
            found = self._settle(self._known(run))
            if found.stage in _OVER:
                return
            if name == "TERM":
                monitor.send(found.job, signal.SIGTERM)
            else:
                cgroup.kill(self._host.tree, self._host.tree.job(run))

    def usage(self, run: str) -> Usage:
        with self._only(run):
            found = self._settle(self._known(run))
            return found.usage or cgroup.usage(self._host.tree, run)

    def open_log(self, run: str) -> int:
        """A descriptor, the caller's to close. conmon renames a new file into place when the log is full."""
        with self._only(run):
            self._known(run)
            try:
                return os.open(self._host.places.run(run).log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise LauncherError("not-found", f"run {run} has no log (kept until reboot)") from error

    def remove(self, run: str) -> None:
        with self._only(run):
            if self._settle(self._known(run)).stage not in _OVER:
                raise LauncherError("conflict", f"run {run} is still running", "run")
            self._discard(run)

    # --- at start and at the end --------------------------------------------------------------

    def adopt(self) -> None:
        """Find again what earlier launchers left: running jobs go on, half-started ones are taken away."""
        runs = self._host.places.runs
        for run in sorted(path.name for path in runs.iterdir()):
            found = record.read(runs / run / "record.json")
            if found is None:
                with contextlib.suppress(LauncherError):  # next time again
                    self._discard(run)
                continue
            self._records[run] = found
            unborn = found.stage == "created" and self._same_boot(found) and not self._was_started(found)
            if found.stage == "starting" or unborn:
                self._abandon(found)
                continue
            if found.stage == "created":
                self._keep_if_room(replace(found, stage="running"))
            if self._settle(self._records[run]).stage not in _OVER:
                with contextlib.suppress(OSError):  # a crash may have come before the limit
                    execute.perform(plan.limit_monitor(run, self._host.tree))
        self._clear_strays()

    def purge(self) -> None:
        """End every run and remove all that was made for runs: processes, cgroups, files."""
        runs = self._host.places.runs
        for path in runs.iterdir() if runs.exists() else ():
            with contextlib.suppress(LauncherError):
                self._discard(path.name)
        tree = self._host.tree
        cgroup.kill(tree, tree.parent)
        cgroup.clear(tree, tree.parent)
        places = self._host.places
        for directory in (runs, places.rootfs, places.logs, places.runtime):
            _remove_tree(directory)
        for path in (places.socket, places.run_dir / "oom", places.lock):
            path.unlink(missing_ok=True)
        for directory in (places.state_dir, places.run_dir):
            with contextlib.suppress(OSError):  # somebody else keeps something there
                directory.rmdir()

    # --- inside -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _only(self, run: str) -> Generator[None]:
        with self._freed:
            self._freed.wait_for(lambda: run not in self._busy)
            self._busy.add(run)
        try:
            yield
        finally:
            with self._freed:
                self._busy.discard(run)
                self._freed.notify_all()

    def _known(self, run: str) -> Record:
        try:
            return self._records[run]
        except KeyError:
            raise LauncherError("not-found", f"no run {run}", "run") from None

    def _keep(self, new: Record) -> Record:
        """On disk first, then in memory."""
        record.write(self._host.places.run(new.run).record, new)
        self._records[new.run] = new
        return new

    def _keep_if_room(self, new: Record) -> Record:
        """In memory alone when the disk is full: all that `new` adds can be seen again in the exit file and cgroup."""
        try:
            return self._keep(new)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
        self._records[new.run] = new
        return new

    def _created(self, fresh: Record, monitor_process: Process, job: Process) -> None:
        started = self._wall_nano()
        self._keep(replace(fresh, stage="created", monitor=monitor_process, job=job, started_unix_nano=started))

    def _reserve(self, request: JobRequest) -> Record:
        """A range of user ids that no other run has, and a place among those that may run."""
        self._settle_idle()
        with self._freed:
            known = list(self._records.values())  # a copy: a run may be removed meanwhile
            live = sum(found.stage not in _OVER for found in known)
            if live >= self._rules.max_runs:
                raise LauncherError("no-room", f"{live} runs are running, the most that is allowed here")
            slot = min(set(range(SLOTS)) - {found.slot for found in known}, default=None)
            if slot is None:
                raise LauncherError("no-room", f"{SLOTS} runs are kept; remove ended ones")
            disk = os.statvfs(self._host.places.logs)
            room = disk.f_blocks * disk.f_frsize // 2 - sum(found.log_bytes for found in known)
            if request.log_bytes > room:  # it is /run, which all of the machine's services need
                raise LauncherError("no-room", f"{max(0, room)} bytes are left for logs; remove ended runs")
            fresh = Record(request.run, request.tenant, slot, self._host.facts.boot_id, log_bytes=request.log_bytes)
            self._records[fresh.run] = fresh
            return fresh

    def _settle_idle(self) -> None:
        """See which runs are over; those in somebody's hand are left to them."""
        for run in list(self._records):
            with self._freed:
                if run in self._busy:
                    continue
                self._busy.add(run)
            try:
                if run in self._records:
                    self._settle(self._records[run])
            finally:
                with self._freed:
                    self._busy.discard(run)
                    self._freed.notify_all()

    def _same_boot(self, found: Record) -> bool:
        return found.boot_id == self._host.facts.boot_id

    def _settle(self, found: Record) -> Record:
        """The record, brought up to what has become of the run."""
        if found.stage != "running":
            return found
        alive = self._same_boot(found) and found.monitor.alive()
        code = _exit_code(self._host.places.run(found.run).exit)  # after `alive`: conmon writes it, then ends
        if code is None and alive:
            return found
        return self._keep_if_room(self._ended(found, code))

    def _ended(self, found: Record, code: int | None) -> Record:
        here, tree = self._host.places.run(found.run), self._host.tree
        if code is None:  # without conmon the exit code is lost and nobody reads the output: the rest must end too
            if self._same_boot(found):
                cgroup.kill(tree, tree.run(found.run))
            ended = self._wall_nano()
        else:
            ended = here.exit.stat().st_mtime_ns
        usage = cgroup.usage(tree, found.run)
        return replace(
            found,
            stage="lost" if code is None else "ended",
            exit_code=code,
            ended_unix_nano=ended,
            oom_killed=usage.oom_kills > 0 or here.oom.exists(),
            usage=usage,
        )

    def _was_started(self, found: Record) -> bool:
        if _exit_code(self._host.places.run(found.run).exit) is not None:
            return True
        _, said = monitor.command(plan.runtime_argv(self._host, "state", found.run))
        return '"status": "running"' in said

    def _discard(self, run: str) -> None:
        """Everything of a run, whatever of it exists. Raises LauncherError(host), its ids kept, if some of it lives."""
        tree, here = self._host.tree, self._host.places.run(run)
        cgroup.kill(tree, tree.run(run))
        monitor.command(plan.runtime_argv(self._host, "delete", "--force", run))
        if not cgroup.clear(tree, tree.run(run)):
            raise LauncherError("host", f"run {run}: its processes can't be ended now; ask again")
        here.log.unlink(missing_ok=True)
        _remove_tree(here.directory)
        self._records.pop(run, None)

    def _abandon(self, found: Record) -> None:
        """Discard, or keep as lost what can't be: its user ids must not be given to another."""
        try:
            self._discard(found.run)
        except LauncherError:
            self._keep_if_room(replace(found, stage="lost", ended_unix_nano=self._wall_nano()))

    def _clear_strays(self) -> None:
        """Cgroups whose record is gone: a crash between the two."""
        tree = self._host.tree
        for parent in tree.everywhere(tree.parent):
            for path in parent.glob("run-*"):
                run = path.name.removeprefix("run-")
                if run not in self._records:
                    cgroup.kill(tree, tree.run(run))
                    cgroup.clear(tree, tree.run(run))


def _exit_code(path: Path) -> int | None:
    """None when there is none, or none that means anything (conmon writes -1 when it doesn't know)."""
    try:
        code = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return code if 0 <= code <= 255 else None


def _remove_tree(top: Path) -> None:
    """Never follows a link."""
    if not top.is_dir():
        return
    for directory, folders, files in os.walk(top, topdown=False):
        for name in files:
            (Path(directory) / name).unlink(missing_ok=True)
        for name in folders:
            path = Path(directory) / name
            path.unlink() if path.is_symlink() else path.rmdir()
    top.rmdir()
