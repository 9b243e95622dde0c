"""The OCI seccomp section, from our own allow-list in seccomp.json. Pure but for `read`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_EPERM = 1


def read() -> dict[str, Any]:
    """The list as it was shipped."""
    raw: dict[str, Any] = json.loads((Path(__file__).parent / "seccomp.json").read_text())
    return raw


def section(raw: Mapping[str, Any], machine: str) -> dict[str, Any]:
    """`linux.seccomp` for `machine` (uname -m): native architecture only, so no 32-bit or x32 system call passes.

    Names that this machine's libseccomp doesn't know are skipped by crun and runc. Raises KeyError for a machine
    that the list doesn't name.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [raw["machines"][machine]],
        "syscalls": [
            {"names": [name for group in raw["allow"] for name in group["names"]], "action": "SCMP_ACT_ALLOW"},
            *({"names": r["names"], "action": "SCMP_ACT_ALLOW", "args": r["args"]} for r in raw["allow_if"]),
            {"names": raw["absent"]["names"], "action": "SCMP_ACT_ERRNO", "errnoRet": raw["absent"]["errno"]},
        ],
    }
