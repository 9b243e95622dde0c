"""What has become of a run: read from its exit file, its monitor and its cgroup when somebody asks."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from agent.launcher import cgroup, execute, idmap, interface, monitor, mounts, network, plan, storage
from agent.launcher.layout import Host, RunPlaces
from agent.launcher.protocol import Usage
from agent.launcher.record import Record


def same_boot(host: Host, found: Record) -> bool:
    return found.boot_id == host.facts.boot_id


def now(host: Host, found: Record, wall_nano: Callable[[], int]) -> Record:
    """The record, brought up to date: ended or lost when the run is. What is left of a lost run is killed."""
    if found.stage not in ("running", "held"):
        return found
    alive = same_boot(host, found) and found.monitor.alive()
    code = exit_code(_exit_file(host.places.run(found.run)))  # after `alive`: conmon writes it, then ends
    if code is None and alive:
        return found
    return _ended(host, found, code, wall_nano)


def _ended(host: Host, found: Record, code: int | None, wall_nano: Callable[[], int]) -> Record:
    here, tree = host.places.run(found.run), host.tree
    if code is None:  # without conmon the exit code is lost and nobody reads the output: the rest must end too
        if same_boot(host, found):
            cgroup.kill(tree, tree.run(found.run))
        ended = wall_nano()
    else:
        ended = _exit_file(here).stat().st_mtime_ns
    used = usage(host, replace(found, job=monitor.NOBODY))
    return replace(
        found,
        stage="lost" if code is None else "ended",
        exit_code=code,
        ended_unix_nano=ended,
        oom_killed=used.oom_kills > 0 or here.oom.exists(),
        usage=used,
    )


def usage(host: Host, found: Record) -> Usage:
    """Of a run that isn't over, or only just."""
    counted = cgroup.usage(host.tree, found.run)
    link = found.link()
    received = sent = 0
    if link and same_boot(host, found):
        received, sent = interface.counters(link, found.job, host)
    return replace(counted, disk_bytes=found.disk_bytes, network_receive_bytes=received, network_transmit_bytes=sent)


def was_started(host: Host, found: Record) -> bool:
    if exit_code(_exit_file(host.places.run(found.run))) is not None:
        return True
    if monitor.executes(found.job, host.init):  # also when a crash came before the runtime could know
        return True
    _, said = monitor.command(plan.runtime_argv(host, "state", found.run))
    return '"status": "running"' in said


def _exit_file(here: RunPlaces) -> Path:
    """Of a run that an older launcher started, conmon writes it beside the record."""
    old = here.directory / "persist" / "exit"
    return old if old.parent.exists() else here.exit


def exit_code(path: Path) -> int | None:
    """None when there is none, or none that means anything (conmon writes -1 when it doesn't know)."""
    try:
        code = int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return code if 0 <= code <= 255 else None


def disconnect(host: Host, found: Record) -> bool:
    """Take the network of a run that is over away; False when it has none left. Raises OSError."""
    link = found.link()
    if link is None or not network.netns(host.places, found.run).exists():
        return False
    execute.perform(network.destroy(link, host))
    return True


def discard(host: Host, run: str, found: Record | None) -> bool:
    """Everything of a run, whatever of it exists; False if some of it lives on. Raises OSError."""
    tree, here = host.tree, host.places.run(run)
    cgroup.kill(tree, tree.run(run))
    monitor.command(plan.runtime_argv(host, "delete", "--force", run))
    if not cgroup.clear(tree, tree.run(run)):
        return False
    if found is not None:
        disconnect(host, found)
    unmount(host, run)
    here.log.unlink(missing_ok=True)
    for directory in (here.live, here.directory):
        remove_tree(directory)
    return True


def unmount(host: Host, run: str) -> None:
    """What was only needed while the sandbox was made, and the directories it was mounted on. Raises OSError."""
    here = host.places.run(run)
    for mounted in (here.secrets, here.mqtt):
        if mounted.exists():  # else there were none: no C library has to be loaded to see that
            mounts.unmount(mounted)
            mounted.rmdir()
    idmap.clear(storage.mounts(host.places), run)


def remove_tree(top: Path) -> None:
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
