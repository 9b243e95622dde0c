"""The runs of this launcher: start, hold, look at, end, remove. The disk is the truth.

A run is in one hand at a time (Book.only); different runs go on side by side. Nothing watches: what became of a run is
read when somebody asks (fate), so that a restart has nothing to catch up on.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from agent.launcher import cgroup, check, dump, execute, fate, image, monitor, network, oci, plan, policy
from agent.launcher.book import Book, boot_key
from agent.launcher.fingerprint import fingerprint
from agent.launcher.firewall import Link
from agent.launcher.image import Images
from agent.launcher.layout import Host
from agent.launcher.monitor import Process
from agent.launcher.protocol import Checked, JobRequest, LauncherError, Reach, RunState, Signal, Usage
from agent.launcher.record import Record


class Runs:
    def __init__(
        self,
        host: Host,
        rules: policy.Policy,
        seccomp: Mapping[str, Any],
        images: Images,
        wall_nano: Callable[[], int] = time.time_ns,
    ) -> None:
        self.book = Book(host, rules.max_runs)
        self._host = host
        self._rules = rules
        self._seccomp = seccomp
        self._images = images
        self._wall_nano = wall_nano
        self._wiring = threading.Lock()  # what concerns several runs is computed and done in one piece

    # --- asked for by the agent ---------------------------------------------------------------

    def start(self, request: JobRequest) -> RunState:
        """The run's state; it is started if it wasn't yet. Raises LauncherError and OSError, leaving nothing behind."""
        print_ = self._admit(request)
        with self.book.only(request.run):
            held = self._known_or_gone(request.run, print_)
            if held is None:
                self._create(request, print_, held=False)
            elif held.stage != "held":
                return held.state()
            else:
                self._set_reach(held, request.network.reach if request.network else Reach())
                self.book.take_place(self.book.known(request.run))
            return self._begin(request.run)

    def hold(self, request: JobRequest) -> RunState:
        """As `start`, up to where the job would begin."""
        if request.disk_bytes or (request.network and request.network.publish):
            raise LauncherError("not-allowed", "a disk and a port are of one run at a time: not of one that is held")
        print_ = self._admit(request)
        with self.book.only(request.run):
            known = self._known_or_gone(request.run, print_)
            return (known or self._create(request, print_, held=True)).state()

    def states(self) -> list[RunState]:
        """By name. A run that is being started or ended just now is told as it was before."""
        found: list[RunState] = []
        for one in sorted(self.book.every(), key=lambda one: one.run):
            with self.book.idle(one.run) as known:
                found.append((self._settle(known) if known else one).state())
        return found

    def state(self, run: str) -> RunState:
        with self.book.only(run):
            return self._settle(self.book.known(run)).state()

    def watch(self, run: str) -> tuple[RunState, int | None]:
        """The state, and a descriptor (the caller's to close) that is readable when the run is over."""
        with self.book.only(run):
            found = self._settle(self.book.known(run))
            if found.over:
                return found.state(), None
            fd = monitor.open_pidfd(found.monitor)
            return (found if fd is not None else self._settle(found)).state(), fd

    def signal(self, run: str, name: Signal) -> None:
        with self.book.only(run):
            found = self._settle(self.book.known(run))
            if found.over:
                return
            if name == "KILL":
                cgroup.kill(self._host.tree, self._host.tree.job(run))
            elif found.stage != "held":
                monitor.send(found.job, signal.Signals[f"SIG{name}"])

    def check(self, run: str) -> Checked:
        """Not in hand while it takes its time: a run that hangs must be ended none the less."""
        with self.book.only(run):
            found = self._settle(self.book.known(run))
        if found.check is None:
            raise LauncherError("conflict", f"run {run} was started without a health check", "run")
        if found.stage != "running":
            raise LauncherError("conflict", f"run {run} is not running", "run")
        return check.perform(found.check, found, self._host)

    def reach(self, run: str, wanted: Reach) -> None:
        policy.check_reach(self._rules, wanted)
        with self.book.only(run):
            found = self._settle(self.book.known(run))
            if found.network is None:
                raise LauncherError("conflict", f"run {run} has no network", "run")
            if not found.over:
                self._set_reach(found, wanted)

    def usage(self, run: str) -> Usage:
        with self.book.only(run):
            found = self._settle(self.book.known(run))
            return found.usage or fate.usage(self._host, found)

    def open_log(self, run: str) -> int:
        """A descriptor, the caller's to close. conmon renames a new file into place when the log is full."""
        with self.book.only(run):
            self.book.known(run)
            try:
                return os.open(self._host.places.run(run).log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise LauncherError("not-found", f"run {run} has no log (kept until reboot)") from error

    def remove(self, run: str) -> None:
        with self.book.only(run):
            found = self._settle(self.book.known(run))
            if not found.over and found.stage != "held":
                raise LauncherError("conflict", f"run {run} is still running", "run")
            self.discard(run)

    # --- for adoption -------------------------------------------------------------------------

    def settle(self, found: Record) -> Record:
        return self._settle(found)

    def discard(self, run: str) -> None:
        """Everything of a run, whatever of it exists. Raises LauncherError(host), its ids kept, if some of it lives."""
        found = self.book.find(run)
        if not fate.discard(self._host, run, found):
            raise LauncherError("host", f"run {run}: its processes can't be ended now; ask again")
        self.book.forget(run)
        if found is not None and not found.over:
            self._meet(found)

    def abandon(self, found: Record) -> None:
        """Discard, or keep as lost what can't be: its user ids must not be given to another."""
        try:
            self.discard(found.run)
        except (LauncherError, OSError):
            self.book.keep_if_room(replace(found, stage="lost", ended_unix_nano=self._wall_nano()))

    def links(self) -> list[Link]:
        """Of the runs whose network is there."""
        links = ((found, found.link()) for found in self.book.every())
        return [link for found, link in links if link and not found.over and fate.same_boot(self._host, found)]

    # --- inside -------------------------------------------------------------------------------

    def _admit(self, request: JobRequest) -> str:
        """The request's fingerprint. Raises LauncherError for what can't be here."""
        policy.check(self._rules, request)
        facts = self._host.facts
        if not facts.memory_controller:
            raise LauncherError("host", "no memory controller: add cgroup_enable=memory to the kernel's command line")
        if request.network and not facts.network:
            raise LauncherError("host", "runs can't have a network here; the launcher's log says why", "network")
        if request.mqtt and not (self._host.mqtt_dir and self._host.mqtt_dir.is_dir()):
            raise LauncherError("no-room", f"{self._host.mqtt_dir} is not there: there is no broker here yet", "mqtt")
        if request.secrets:
            dump.not_even_piped()
        return fingerprint(request, boot_key(self._host.places.key))

    def _known_or_gone(self, run: str, print_: str) -> Record | None:
        """What is there of the run. One that never began is discarded, unless it is held for this very request."""
        found = self.book.find(run)
        if found is None:
            return None
        found = self._settle(found)
        if found.unborn and not (found.stage == "held" and found.fingerprint == print_):
            self.discard(run)
            return None
        return found

    def _create(self, request: JobRequest, print_: str, *, held: bool) -> Record:
        """A sandbox that stands, its job not started."""
        for known in self.book.every():  # which are over? Those in somebody's hand are left to them
            with self.book.idle(known.run) as idle:
                if idle:
                    self._settle(idle)
        fresh = self.book.reserve(request, held=held, fingerprint=print_)
        try:
            self._host.places.run(fresh.run).directory.mkdir(mode=0o711, exist_ok=True)
            self.book.keep(fresh)
            root = None
            if request.image != "host":
                root = oci.Root(image.root(self._host.places, fresh.run), self._images.config(request.image))
            steps = plan.create(request, fresh.slot, self._host, self._seccomp, link=fresh.link(), root=root)
            execute.perform(steps, created=lambda m, j: self._created(fresh, m, j, held=held))
            self._meet(fresh)
        except BaseException:
            self.abandon(fresh)
            raise
        return self.book.known(fresh.run)

    def _created(self, fresh: Record, monitor_process: Process, job: Process, *, held: bool) -> None:
        self.book.keep(
            replace(
                fresh,
                stage="held" if held else "created",
                monitor=monitor_process,
                job=job,
                started_unix_nano=0 if held else self._wall_nano(),
            )
        )

    def _begin(self, run: str) -> RunState:
        found = self.book.known(run)
        try:
            if not found.started_unix_nano:  # it was held
                found = self.book.keep(replace(found, started_unix_nano=self._wall_nano()))
            execute.perform(plan.start(run, self._host))
            return self.book.keep(replace(found, stage="running")).state()
        except BaseException:
            self.abandon(found)
            raise

    def _settle(self, found: Record) -> Record:
        """The record, brought up to what has become of the run."""
        new = fate.now(self._host, found, self._wall_nano)
        if new is found:
            return found
        self.book.keep_if_room(new)
        with contextlib.suppress(LauncherError, OSError):  # once more when it is discarded
            if fate.same_boot(self._host, new) and fate.disconnect(self._host, new):
                self._meet(new)
        return new

    # --- network ------------------------------------------------------------------------------

    def _meet(self, changed: Record) -> None:
        """After a run that asks for peers has come or gone."""
        if changed.network and changed.network.peers:
            with self._wiring:
                execute.perform(network.peers(self.links(), self._host))

    def _set_reach(self, found: Record, wanted: Reach) -> None:
        """Of a run with a network."""
        network_ = found.network
        if network_ is None or network_.reach == wanted:
            return
        changed = replace(network_, reach=wanted)
        self.book.have_destinations(found.run, changed)
        link = self.book.keep(replace(found, network=changed)).link()
        if link:
            with self._wiring:
                execute.perform(network.reach(link, self.links(), self._host))
