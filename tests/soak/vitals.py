"""What a process and a directory take at a moment, from /proc and the file system."""

import os
from collections.abc import Iterable
from pathlib import Path

MB = 1e6


def of_process(pid: int) -> dict[str, float]:
    """rss and pss in MB, open files, threads. Raises FileNotFoundError, ProcessLookupError when it is gone."""
    fields = {
        key: value.split()[0]
        for key, _, value in (
            line.partition(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        )
        if value.endswith(" kB")
    }
    return {
        "rss MB": int(fields["Rss"]) * 1024 / MB,
        "pss MB": int(fields["Pss"]) * 1024 / MB,
        "open files": _entries(pid, "fd"),
        "threads": _entries(pid, "task"),
    }


def _entries(pid: int, folder: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{folder}").iterdir())


def disk_mb(directory: Path) -> float:
    """Allocated below `directory`; what goes meanwhile counts nothing."""
    return sum(map(_allocated, _files(directory))) / MB


def cgroups(name: str, root: Path = Path("/sys/fs/cgroup")) -> int:
    """Below the tree `name`, in all hierarchies that this machine has."""
    trees = {root / name, *root.glob(f"*/{name}")}
    return sum(1 for tree in trees for _ in os.walk(tree))


def _files(directory: Path) -> Iterable[str]:
    for folder, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(folder, name)  # noqa: PTH118  thousands of files, each some seconds


def _allocated(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0
