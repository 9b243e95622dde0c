"""Whether there is room for what the configuration lets grow."""

import os
from pathlib import Path

from agent.cli.checks.finding import Box, Finding

NAME = "disk"

_LEAST_BYTES = 256 << 20
_MIB = 1 << 20


def check(box: Box) -> Finding:
    directory = box.config.node.state_dir
    try:
        facts = os.statvfs(directory)
    except OSError as error:
        return Finding("fail", f"{directory}: {error.strerror}", "the package makes it; run doctor as the agent's user")
    free = facts.f_bavail * facts.f_frsize
    text = f"{directory}: {free // _MIB} MiB free"
    if free < _LEAST_BYTES or facts.f_favail == 0 < facts.f_files:
        return Finding(
            "fail", f"{text}, {facts.f_favail} inodes", f"free space there, at least {_LEAST_BYTES // _MIB} MiB"
        )
    may_grow = box.config.spool.limit_bytes + (box.config.images.limit_bytes if box.config.jobs.enabled else 0)
    taken = sum(_size(directory / name) for name in ("spool.db", "images"))
    if free + taken < may_grow:
        remedy = "lower [spool] limit_bytes or [images] limit_bytes, or free space there"
        return Finding("warn", f"{text}; spool and images may take {may_grow // _MIB} MiB", remedy)
    return Finding("ok", text)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.exists())
