"""What the kernel says of the processes: the demo believes nobody else."""

import contextlib
import stat
from pathlib import Path

_MOST_BYTES = 64 << 20  # an unpacked image is a sparse file of gigabytes; no secret was there to be put into it


def status(pid: int) -> dict[str, str]:
    """Fields of /proc/PID/status (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def unprivileged(pid: int) -> dict[str, object]:
    fields = status(pid)
    return {
        "uid": int(fields["Uid"].split()[0]),
        "no_new_privs": fields["NoNewPrivs"] == "1",
        **{name: fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
    }


def inet_sockets(pid: int) -> list[str]:
    """Internet sockets that a process holds: its socket inodes that stand in /proc/net's tables of them."""
    held = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            held.add(target[8:-1])
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"):
        table = Path(f"/proc/{pid}/net/{name}")
        if table.exists():
            found += [f"{name} {line}" for line in table.read_text().splitlines()[1:] if held & set(line.split())]
    return found


def files(directory: Path) -> list[Path]:
    """Regular files below, but for what is mounted there: a run's secrets are, in memory."""
    device, found = directory.stat().st_dev, list[Path]()
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a socket or a journal that was closed meanwhile
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_dev == device and facts.st_size <= _MOST_BYTES:
                found.append(path)
    return found


def holds(path: Path, *contents: bytes) -> bool:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    return any(content in data for content in contents)
