"""What earlier launchers left: found again at the start, or all taken away at a purge."""

import contextlib
from dataclasses import replace

from agent.launcher import cgroup, disk, execute, fate, image, monitor, mounts, network, plan, record
from agent.launcher.layout import Host
from agent.launcher.operation import MakeDirectory, Mount, WriteFile
from agent.launcher.protocol import LauncherError
from agent.launcher.record import Record
from agent.launcher.runs import Runs


def adopt(runs: Runs, host: Host) -> None:
    """Running jobs go on, held ones wait on, half-started ones are taken away. Before anything is asked of `runs`."""
    for run in sorted(path.name for path in host.places.runs.iterdir()):
        found = record.read(host.places.run(run).record)
        if found is None:
            with contextlib.suppress(LauncherError, OSError):  # next time again
                runs.discard(run)
            continue
        runs.book.learn(found)
        _adopt(runs, host, found)
    _clear_strays(runs, host)
    disk.adopt(host.places)
    if host.facts.network:
        execute.perform(network.prepare(runs.links(), host))
        execute.perform(network.peers(runs.links(), host))


def _adopt(runs: Runs, host: Host, found: Record) -> None:
    same_boot = fate.same_boot(host, found)
    unborn = found.stage == "created" and same_boot and not fate.was_started(host, found)
    stale = found.stage == "held" and not (same_boot and found.monitor.alive())
    if found.stage == "starting" or unborn or stale:
        runs.abandon(found)
        return
    if found.stage == "created":
        found = runs.book.keep_if_room(replace(found, stage="running"))
    found = runs.settle(found)
    if found.over:
        with contextlib.suppress(LauncherError, OSError):  # a crash may have come between its end and this
            fate.disconnect(host, found)
        return
    with contextlib.suppress(OSError):  # a crash may have come before the limit, or before the mounts were let go
        if found.stage == "running":
            execute.perform(plan.limit_monitor(found.run, host))
        fate.unmount(host, found.run)
        _pin(host, found)


def _pin(host: Host, found: Record) -> None:
    """Hold on to the run's network namespace: its counters are read when its last process is gone.

    The mount that did so is not seen from a mount namespace of our own (systemd's).
    """
    pinned = network.netns(host.places, found.run)
    now = f"/proc/{found.job.pid}/ns/net"
    if found.network is None or monitor.same_file(pinned, now) or not found.job.alive():
        return
    steps = (MakeDirectory(pinned.parent, 0o700), WriteFile(pinned, "", 0o600))
    execute.perform((*steps, Mount(now, pinned, "none", mounts.MS_BIND)))


def _clear_strays(runs: Runs, host: Host) -> None:
    """Cgroups whose record is gone: a crash between the two."""
    tree = host.tree
    for parent in tree.everywhere(tree.parent):
        for path in parent.glob("run-*"):
            run = path.name.removeprefix("run-")
            if runs.book.find(run) is None:
                cgroup.kill(tree, tree.run(run))
                cgroup.clear(tree, tree.run(run))


def purge(runs: Runs, host: Host) -> None:
    """End every run and remove all that was made for runs: processes, cgroups, networks, files."""
    places, tree = host.places, host.tree
    for path in places.runs.iterdir() if places.runs.exists() else ():
        found = record.read(places.run(path.name).record)
        if found is not None:
            runs.book.learn(found)
        with contextlib.suppress(LauncherError):
            runs.discard(path.name)
    cgroup.kill(tree, tree.parent)
    cgroup.clear(tree, tree.parent)
    # Not without either: what makes this machine a router may be none of ours.
    if host.facts.network or network.marker(places).exists():
        execute.perform(network.forget(host))
    image.purge(host)
    directories = (places.runs, places.rootfs, places.logs, places.runtime, places.live, places.secrets, places.mqtt)
    others = tuple(places.run_dir / name for name in ("netns", "hosts"))
    for directory in (*directories, *others):
        fate.remove_tree(directory)
    for path in (places.socket, places.key, network.marker(places), places.run_dir / "oom", places.lock):
        path.unlink(missing_ok=True)
    for directory in (places.state_dir, places.run_dir):
        with contextlib.suppress(OSError):  # somebody else keeps something there
            directory.rmdir()
