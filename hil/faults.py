"""What is done to a board on purpose, and what must still be true after it: devices, units and jobs, by content."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hil.board import COMMAND_SECONDS, Device, until
from hil.central import Central

AGENT, LAUNCHER, BROKER = "edge-agent", "edge-launcher", "mosquitto"


def pid(ssh: Any, unit: str) -> int:
    """Of the unit's main process; 0 while it has none."""
    return int(ssh.run_check(f"systemctl show -P MainPID {unit}")[0])


def kill(ssh: Any, units: Sequence[str], pause_seconds: float = 0.0) -> dict[str, int]:
    """SIGKILL one after the other, by one shell of the board: ssh takes longer than a pause. Returns whom it was."""
    pids = {unit: pid(ssh, unit) for unit in units}
    assert all(pids.values()), pids
    between = f" && sleep {pause_seconds:g} && " if pause_seconds else " && "
    ssh.run_check(between.join(f"kill -KILL {number}" for number in pids.values()))
    return pids


def back(ssh: Any, before: dict[str, int], seconds: float = 180.0) -> float:
    """Seconds until every unit has another main process than `before`, and says that it is ready."""

    def are() -> bool:
        new = all(pid(ssh, unit) not in (number, 0) for unit, number in before.items())
        return new and ssh.run(f"systemctl is-active {' '.join(before)}")[0] == ["active"] * len(before)

    return until(are, f"{' and '.join(before)} to be back", seconds)


def start_of(ssh: Any, number: int) -> str:
    """When a process started, in ticks since the boot: with its id it names the process for good (proc(5))."""
    return str(ssh.run_check(f"cat /proc/{number}/stat")[0].rpartition(")")[2].split()[19])


@contextmanager
def publishing(
    ssh: Any, central: Central, node: str, names: Sequence[str], per_second: float
) -> Iterator[list[Device]]:
    """Devices that publish numbers, each heard by central already; no device of another test had their names."""
    until(lambda: central.connected(node), "the node to be connected", 180)
    ours = [f"{name}-{secrets.token_hex(2)}" for name in names]
    passwords = {name: central.password(node, name) for name in ours}
    devices = [Device(ssh, name, word, "count", per_second) for name, word in passwords.items()]
    try:
        until(lambda: all(device.acknowledged for device in devices), "an acknowledgement for each device", 120)
        until(lambda: {name for name, _ in arrived(central, node, ours)} == set(ours), "each device at central", 120)
        yield devices
    finally:
        for device in devices:
            device.stop()


def go_on(devices: Sequence[Device], count: int = 5, seconds: float = 120.0) -> None:
    """Until each device had `count` more of its messages acknowledged."""
    before = {device.name: len(device.acknowledged) for device in devices}
    until(
        lambda: all(len(device.acknowledged) >= before[device.name] + count for device in devices),
        f"{count} more acknowledgements for each device",
        seconds,
    )


def heard(central: Central, node: str, devices: Sequence[Device], seconds: float = 180.0) -> None:
    """Until central has a message of each device that was acknowledged just now: the whole way stands again."""
    names = [device.name for device in devices]
    since = {device.name: max(device.acknowledged) for device in devices}

    def is_heard() -> bool:
        newest = Counter[str]()
        for name, number in arrived(central, node, names):
            newest[name] = max(newest[name], number)
        return all(newest[name] > number for name, number in since.items())

    until(is_heard, "something new of each device at central", seconds)


def arrived(central: Central, node: str, names: Sequence[str]) -> Counter[tuple[str, int]]:
    """(device, number) and how many times central has it."""
    return Counter(
        (message["device"], int(message["payload"]))
        for message in central.messages(node)
        if message["device"] in names and message["payload"].isdecimal()
    )


def whole(central: Central, node: str, devices: Sequence[Device], seconds: float = 180.0) -> Counter[tuple[str, int]]:
    """What central has of stopped devices, once all that was acknowledged to them is there. Raises AssertionError."""
    names = [device.name for device in devices]
    promised = {(device.name, number) for device in devices for number in tuple(device.acknowledged)}
    try:
        until(lambda: promised <= set(arrived(central, node, names)), "what was acknowledged to be at central", seconds)
    except AssertionError:
        missing = sorted(promised - set(arrived(central, node, names)))
        raise AssertionError(f"{len(missing)} of {len(promised)} missing at central: {missing[:20]}") from None
    return arrived(central, node, names)


def job(ssh: Any, name: str) -> dict[str, Any]:
    """As the board itself sees it; empty while the agent does not answer, or knows no such job."""
    out, _, code = ssh.run("edge-agent jobs --json", timeout=COMMAND_SECONDS)
    jobs = json.loads("\n".join(out)).get("jobs", []) if code == 0 else []
    return next((one for one in jobs if one["id"] == name), {})
