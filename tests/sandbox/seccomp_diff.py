"""Our seccomp list beside the distribution's maintained one (containers-common): what either lets a job call.

python -m tests.sandbox.seccomp_diff [FILE]   exit code 1 when ours allows what theirs does not
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher import seccomp

THEIRS = Path("/usr/share/containers/seccomp.json")
_ARCHES = {"amd64", "arm64", "arm"}  # a name that a machine doesn't have is nobody's on it
_ALLOW = "SCMP_ACT_ALLOW"

# The kernel is newer than the distribution's list: each was looked at.
KNOWN_LOOSER = {
    "cachestat": "whether a file's pages are in memory, of files one may write (mm/filemap.c)",
    "fchmodat2": "fchmodat with flags",
    "futex_requeue": "futex in parts",
    "futex_wait": "futex in parts",
    "futex_wake": "futex in parts",
    "futex_waitv": "several futexes at once",
    "map_shadow_stack": "memory of the caller's own",
    "mseal": "memory of the caller's own",
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """System calls of a process without capabilities: whatever their arguments are, or only with some."""

    always: frozenset[str]
    sometimes: frozenset[str]


def ours() -> Allowed:
    return _allowed(seccomp.section(seccomp.read(), "x86_64")["syscalls"])


def theirs(profile: Mapping[str, Any]) -> Allowed:
    """What is bound to a capability is not allowed; what is for those without one is."""
    rules: list[Mapping[str, Any]] = []
    for rule in profile["syscalls"]:
        includes = rule.get("includes") or {}
        arches = includes.get("arches")
        if not includes.get("caps") and (not arches or _ARCHES & set(arches)):
            rules.append(rule)
    return _allowed(rules)


def _allowed(rules: list[Mapping[str, Any]]) -> Allowed:
    allow = [rule for rule in rules if rule["action"] == _ALLOW]
    always = {name for rule in allow if not rule.get("args") for name in rule["names"]}
    some = {name for rule in allow if rule.get("args") for name in rule["names"]}
    return Allowed(frozenset(always), frozenset(some - always))


def looser(mine: Allowed, other: Allowed) -> set[str]:
    """What `mine` allows and `other` doesn't, or only with some arguments."""
    return set((mine.always - other.always) | (mine.sometimes - other.always - other.sometimes))


def report(mine: Allowed, other: Allowed) -> str:
    unknown = looser(mine, other) - set(KNOWN_LOOSER)
    known = looser(mine, other) & set(KNOWN_LOOSER)
    stricter = sorted(other.always - mine.always - mine.sometimes)
    some = sorted(other.always & mine.sometimes)
    lines = [
        f"ours allows {len(mine.always)} calls, and {len(mine.sometimes)} with some arguments only",
        f"theirs allows {len(other.always)} calls, and {len(other.sometimes)} with some arguments only",
        f"refused by ours alone ({len(stricter)}): {' '.join(stricter)}",
        f"with some arguments by ours, with all by theirs ({len(some)}): {' '.join(some)}",
        f"allowed by ours alone, known ({len(known)}):",
        *(f"  {name}: {KNOWN_LOOSER[name]}" for name in sorted(known)),
        f"allowed by ours alone, NOT LOOKED AT ({len(unknown)}): {' '.join(sorted(unknown))}",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else THEIRS
    mine, other = ours(), theirs(json.loads(file.read_text()))
    sys.stdout.write(report(mine, other))
    return 1 if looser(mine, other) - set(KNOWN_LOOSER) else 0


if __name__ == "__main__":
    sys.exit(main())
