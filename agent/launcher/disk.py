"""The disk of a job: an ext4 file of its own, kept between its runs, mounted at /work in the ids of the run."""

from pathlib import Path

from agent.launcher import layout, storage
from agent.launcher.layout import Places
from agent.launcher.operation import MakeDirectory, Plan, Unmount
from agent.launcher.protocol import DiskState, JobRequest, LauncherError
from agent.launcher.storage import LimitDevice, MakeDisk, MountFile


def file(places: Places, tenant: str, job: str) -> Path:
    return storage.disks(places) / tenant / f"{job}.img"


def mounted(places: Places, run: str) -> Path:
    """What config.json binds at /work (options bind, nosuid, nodev) for a run with a disk."""
    return storage.work(places, run)


def attach(request: JobRequest, slot: int, host: layout.Host) -> Plan:
    """Before the sandbox is created; nothing when the request wants no disk."""
    if not request.disk_bytes:
        return ()
    image, path = file(host.places, request.tenant, request.job), mounted(host.places, request.run)
    return (
        MakeDirectory(image.parent, 0o700),
        MakeDisk(image, request.disk_bytes),
        MakeDirectory(path.parent.parent, 0o711),
        MakeDirectory(path.parent, 0o711),
        MakeDirectory(path, 0o711),
        MountFile(image, path, read_only=False, first_id=layout.uid_base(slot)),
    )


def limit(request: JobRequest, host: layout.Host) -> Plan:
    """Once the sandbox is created (its cgroup is there), before `detach`."""
    if not request.disk_bytes or not request.io_bytes_per_second:
        return ()
    tree = host.tree
    if tree.kind == "v2":
        files: tuple[Path, ...] = (tree.at("", tree.job(request.run)) / "io.max",)
    else:
        group = tree.at("blkio", tree.job(request.run))
        files = tuple(group / f"blkio.throttle.{way}_bps_device" for way in ("read", "write"))
    return (LimitDevice(mounted(host.places, request.run), files, request.io_bytes_per_second),)


def detach(run: str, host: layout.Host) -> Plan:
    """Once the sandbox is created: it has mounts of its own, and the last of them takes the loop device with it."""
    return (Unmount(mounted(host.places, run)),)


def states(places: Places) -> list[DiskState]:
    found: list[DiskState] = []
    for path in sorted(storage.disks(places).glob("*/*.img")):
        found.append(DiskState(path.parent.name, path.stem, path.stat().st_size))
    return found


def remove(places: Places, tenant: str, job: str) -> None:
    """Raises LauncherError: not-found, or conflict while something has it mounted."""
    raise LauncherError("not-found", f"no disk of {tenant}/{job}", "job")
