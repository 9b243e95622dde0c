"""Root's own rules for the launcher: who may call it and what a run may have at most. The agent can't change them."""

import pwd
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agent.launcher.layout import SLOTS
from agent.launcher.protocol import MIB, JobRequest, LauncherError, Reach
from agent.launcher.reach import is_network

DEFAULT_FILE = Path("/etc/edge-agent/launcher.toml")


class PolicyError(Exception):
    """The policy file is wrong: file, key and what is allowed."""


USUAL_NETWORK = "10.222.0.0/16"
_IMAGE_DIR = Path("/var/lib/edge-agent/images")
_MQTT_DIR = Path("/run/edge-broker/jobs")
_SMALLEST_NETWORK = 32 - (4 * SLOTS - 1).bit_length()  # four addresses for each slot
_RUNTIMES = ("auto", "crun", "runc", "runsc")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Policy:
    """`runtime` is one of _RUNTIMES, or the absolute path of a runtime with crun's command line."""

    agent_uid: int
    max_runs: int = 64
    max_cpu_milli: int = 1_024_000
    max_memory_bytes: int = 1 << 50
    max_disk_bytes: int = 1 << 40  # of one job's /work
    max_image_bytes: int = 4 << 30  # of one image, unpacked
    images: tuple[str, ...] = ("host", "oci")
    image_dir: Path = _IMAGE_DIR
    runtime: str = "auto"
    network: str = USUAL_NETWORK  # where runs' addresses are from; empty = no run has a network
    egress: bool = True  # runs may reach what is not of this machine
    publish_ports: tuple[tuple[int, int], ...] = ((1024, 65535),)  # first and last, of this machine
    mqtt_dir: Path | None = _MQTT_DIR  # where the broker's socket for runs is; None = no run has a way to it


_NUMBERS = {
    "agent_uid": (0, (1 << 32) - 2),
    "max_runs": (1, SLOTS),
    "max_cpu_milli": (10, 1_024_000),
    "max_memory_bytes": (4 * MIB, 1 << 50),
    "max_disk_bytes": (0, 1 << 40),
    "max_image_bytes": (16 * MIB, 1 << 40),
}
_KEYS = (
    "agent_user", *_NUMBERS, "images", "image_dir", "runtime", "network", "egress", "publish_ports", "mqtt_dir",
)  # fmt: skip


def _wrong(name: str, key: str, allowed: str) -> PolicyError:
    return PolicyError(f"{name}: {key}: {allowed}")


def parse(raw: Mapping[str, Any], name: str) -> Policy:
    """The policy from its TOML table; `name` is the file's, for messages. Raises PolicyError."""
    unknown = min(set(raw) - set(_KEYS), default=None)
    if unknown is not None:
        raise _wrong(name, unknown, f"unknown key; allowed: {', '.join(_KEYS)}")
    numbers = _numbers(raw, name)
    numbers["agent_uid"] = _agent_uid(raw, name)
    images, runtime = raw.get("images", ["host", "oci"]), raw.get("runtime", "auto")
    if not isinstance(images, list) or not all(image in ("host", "oci") for image in cast("list[object]", images)):
        raise _wrong(name, "images", 'must be a list of "host" (this machine\'s /usr) and "oci" (images by digest)')
    if not isinstance(runtime, str) or not (runtime in _RUNTIMES or runtime.startswith("/")):
        raise _wrong(name, "runtime", f"must be one of {', '.join(_RUNTIMES)}, or an absolute path")
    image_dir = raw.get("image_dir", str(_IMAGE_DIR))
    if not isinstance(image_dir, str) or not image_dir.startswith("/"):
        raise _wrong(name, "image_dir", "must be an absolute path")
    mqtt_dir = raw.get("mqtt_dir", str(_MQTT_DIR))
    if not isinstance(mqtt_dir, str) or (mqtt_dir and not mqtt_dir.startswith("/")):
        raise _wrong(name, "mqtt_dir", "must be an absolute path, or empty: no way to the broker")
    egress = raw.get("egress", True)
    if not isinstance(egress, bool):
        raise _wrong(name, "egress", "must be true or false")
    return Policy(
        **numbers,
        images=tuple(cast("list[str]", images)),
        image_dir=Path(image_dir),
        runtime=runtime,
        network=_network(raw.get("network", True), name),
        egress=egress,
        publish_ports=_ports(raw.get("publish_ports", ["1024-65535"]), name),
        mqtt_dir=Path(mqtt_dir) if mqtt_dir else None,
    )


def _network(value: object, name: str) -> str:
    if isinstance(value, bool):
        return USUAL_NETWORK if value else ""
    if isinstance(value, str) and is_network(value) and 8 <= int(value.rpartition("/")[2]) <= _SMALLEST_NETWORK:
        return value
    raise _wrong(
        name, "network", f'must be true, false or an IPv4 network of /8../{_SMALLEST_NETWORK} as "{USUAL_NETWORK}"'
    )


def _ports(value: object, name: str) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for one in cast("list[object]", value) if isinstance(value, list) else [None]:
        match = _PORTS.fullmatch(one) if isinstance(one, str) else None
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 65535:
            raise _wrong(name, "publish_ports", 'must be a list as in ["8080", "20000-29999"]')
        found.append((first, last))
    return tuple(found)


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


def _not_allowed(field: str, allowed: str) -> LauncherError:
    return LauncherError("not-allowed", f"{field}: {allowed}", field)


def check(policy: Policy, request: JobRequest) -> None:
    """Raises LauncherError(not-allowed) that names the field and the most that root allows."""
    for field, value, most in (
        ("cpu_milli", request.cpu_milli, policy.max_cpu_milli),
        ("memory_bytes", request.memory_bytes, policy.max_memory_bytes),
        ("disk_bytes", request.disk_bytes, policy.max_disk_bytes),
    ):
        if value > most:
            raise _not_allowed(field, f"at most {most} on this machine")
    check_image(policy, request.image)
    if request.mqtt and policy.mqtt_dir is None:
        raise _not_allowed("mqtt", "none on this machine")
    if request.network is None:
        return
    if not policy.network:
        raise _not_allowed("network", "none on this machine")
    check_reach(policy, request.network.reach)
    for one in request.network.publish:
        if not any(first <= one.port <= last for first, last in policy.publish_ports):
            allowed = ", ".join(f"{first}-{last}" for first, last in policy.publish_ports) or "none"
            raise _not_allowed("publish", f"port {one.port}: on this machine {allowed}")


def check_image(policy: Policy, image: str) -> None:
    """As `check`."""
    if (image if image == "host" else "oci") not in policy.images:
        raise _not_allowed("image", f"one of {', '.join(policy.images) or 'none'} on this machine")


def check_reach(policy: Policy, reach: Reach) -> None:
    """As `check`."""
    if reach.destinations and not policy.egress:
        raise _not_allowed("destinations", "none on this machine")
