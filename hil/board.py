"""What the suite does on a board beyond single commands: put files, read the journal, keep a device publishing."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hil import journal

_DEVICE = Path(__file__).parent / "device.py"
_TOWN = Path(__file__).parent / "town.py"
# How much longer everything may take than on an emulated PC: `options: patience:` of a slow board.
PATIENCE = float(os.environ.get("LG_HIL_PATIENCE", "1"))
# For edge-agent on the board: eight seconds under emulation, and many times that on a busy host.
COMMAND_SECONDS = 120.0 * PATIENCE


def until(done: Callable[[], bool], what: str, seconds: float = 90.0) -> float:
    """Seconds it took. Raises AssertionError after `seconds`, which a slow board has more of."""
    started = time.monotonic()
    seconds *= PATIENCE
    while not done():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - started


def now(ssh: Any) -> str:
    """The board's own time, for `journalctl --since`."""
    return f"@{ssh.run_check('date +%s.%6N')[0]}"


def journal_since(ssh: Any, since: str) -> list[dict[str, Any]]:
    return journal.parse(ssh.run_check(f"journalctl --no-pager -o json --since={since}"))


def status(ssh: Any, unit: str) -> dict[str, str]:
    """Fields of /proc/PID/status of a unit's main process."""
    pid = ssh.run_check(f"systemctl show -P MainPID {unit}")[0]
    lines = ssh.run_check(f"cat /proc/{pid}/status")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def build_town(ssh: Any) -> None:
    """A LAN and a world around the board, unless they are there."""
    if ssh.run("systemctl is-active --quiet town")[2] != 0:
        ssh.put(str(_TOWN), "/root/town.py")
        ssh.run_check(START_TOWN)


def login(device: str, password: str) -> str:
    """Options of mosquitto_pub and mosquitto_sub on the board, for a device that has no more than a password."""
    return f"-V 5 -q 1 -h localhost -p 8884 --cafile /var/lib/edge-broker/ca.crt -u {device} -P {password}"


START_TOWN = "systemd-run --quiet --unit=town --service-type=notify python3 /root/town.py"


class Device:
    """device.py on the board; `acknowledged` is what the broker took, with the host's monotonic time it was heard."""

    def __init__(self, ssh: Any, name: str, password: str, channel: str, per_second: float) -> None:
        self.name = name
        self.acknowledged: dict[int, float] = {}
        ssh.put(str(_DEVICE), "/root/device.py")
        remote = f"exec /opt/store-edge-agent/current/bin/python /root/device.py {name}"
        remote += f" {password} {channel} {per_second}"
        service = ssh.networkservice
        self._process = subprocess.Popen(
            [*("ssh", "-x", *ssh.ssh_prefix, "-p", str(service.port), "-l", service.username), service.address, remote],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.acknowledged[int(line)] = time.monotonic()

    def stop(self) -> None:
        """End it; also after the board has gone."""
        self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._process.stdout.close()
        self._process.stdin.close()
