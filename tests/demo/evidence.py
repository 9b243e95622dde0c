"""What the kernel says of the processes: the demo believes nobody else."""

from pathlib import Path


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
