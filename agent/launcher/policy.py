"""Root's own rules for the launcher: who may call it and what a run may have at most. The agent can't change them."""

import pwd
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.launcher.protocol import MIB, JobRequest, LauncherError

DEFAULT_FILE = Path("/etc/edge-agent/launcher.toml")


class PolicyError(Exception):
    """The policy file is wrong: file, key and what is allowed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`runtime` is "auto", "crun", "runc" or the absolute path of a runtime with crun's command line."""

    agent_uid: int
    max_runs: int = 32
    max_cpu_milli: int = 1_024_000
    max_memory_bytes: int = 1 << 50
    images: tuple[str, ...] = ("host",)
    runtime: str = "auto"


_NUMBERS = {
    "agent_uid": (0, (1 << 32) - 2),
    "max_runs": (1, 128),
    "max_cpu_milli": (10, 1_024_000),
    "max_memory_bytes": (4 * MIB, 1 << 50),
}
_KEYS = ("agent_user", "agent_uid", "max_runs", "max_cpu_milli", "max_memory_bytes", "images", "runtime")


def _wrong(name: str, key: str, allowed: str) -> PolicyError:
    return PolicyError(f"{name}: {key}: {allowed}")


def parse(raw: Mapping[str, Any], name: str) -> Policy:
    """The policy from its TOML table; `name` is the file's, for messages. Raises PolicyError."""
    unknown = min(set(raw) - set(_KEYS), default=None)
    if unknown is not None:
        raise _wrong(name, unknown, f"unknown key; allowed: {', '.join(_KEYS)}")
    numbers = _numbers(raw, name)
    numbers["agent_uid"] = _agent_uid(raw, name)
    images, runtime = raw.get("images", ["host"]), raw.get("runtime", "auto")
    if images not in (["host"], []):
        raise _wrong(name, "images", 'must be a list; the one known image is "host"')
    if not isinstance(runtime, str) or not (runtime in ("auto", "crun", "runc") or runtime.startswith("/")):
        raise _wrong(name, "runtime", 'must be "auto", "crun", "runc" or an absolute path')
    return Policy(**numbers, images=tuple(images), runtime=runtime)


def _numbers(raw: Mapping[str, Any], name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, (low, high) in _NUMBERS.items():
        if key in raw:
            if type(raw[key]) is not int or not low <= raw[key] <= high:
                raise _wrong(name, key, f"must be an integer in {low}..{high}")
            found[key] = raw[key]
    return found


def _agent_uid(raw: Mapping[str, Any], name: str) -> int:
    if ("agent_user" in raw) == ("agent_uid" in raw):
        raise _wrong(name, "agent_user", "name the one user that may call: either agent_user or agent_uid")
    if "agent_uid" in raw:
        return int(raw["agent_uid"])
    try:
        return pwd.getpwnam(raw["agent_user"]).pw_uid
    except (KeyError, TypeError) as error:
        raise _wrong(name, "agent_user", "must be the name of a user of this machine") from error


def read(path: Path) -> Policy:
    """Raises PolicyError; also when the file isn't there: without it nobody may call."""
    try:
        with path.open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path}: {error}") from error
    return parse(raw, str(path))


def check(policy: Policy, request: JobRequest) -> None:
    """Raises LauncherError(not-allowed) that names the field and the most that root allows."""
    for field, value, most in (
        ("cpu_milli", request.cpu_milli, policy.max_cpu_milli),
        ("memory_bytes", request.memory_bytes, policy.max_memory_bytes),
    ):
        if value > most:
            raise LauncherError("not-allowed", f"{field}: at most {most} on this machine", field)
    if request.image not in policy.images:
        raise LauncherError("not-allowed", f"image: one of {', '.join(policy.images)}", "image")
