"""What the launcher knows of a run, on disk before it acts. Written beside and renamed: never a half of it.

Not fsynced: a power cut ends every run anyway, and a record of another boot only says "lost".
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from agent.launcher.firewall import Link
from agent.launcher.monitor import NOBODY, Process
from agent.launcher.protocol import CheckRequest, LauncherError, NetworkRequest, RunState, Usage
from agent.launcher.reach import parse_network

# starting: accepted, perhaps nothing done yet. held: the sandbox stands, its job waits for a start. created: the
# sandbox stands, its job may have been started.
Stage = Literal["starting", "held", "created", "running", "ended", "lost"]
OVER = ("ended", "lost")


@dataclass(frozen=True, slots=True)
class Record:
    """`mark` is the network's (firewall.Link). `fingerprint` is what the request is known by: no word of it."""

    run: str
    tenant: str
    slot: int
    boot_id: str
    stage: Stage = "starting"
    monitor: Process = NOBODY
    job: Process = NOBODY
    started_unix_nano: int = 0  # 0: its job never began
    ended_unix_nano: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    usage: Usage | None = None  # the last one, once ended
    log_bytes: int = 0
    job_name: str = ""
    image: str = "host"
    disk_bytes: int = 0
    network: NetworkRequest | None = None  # its reach is the one in force
    mark: int = 0
    check: CheckRequest | None = None
    fingerprint: str = ""

    @property
    def over(self) -> bool:
        return self.stage in OVER

    @property
    def unborn(self) -> bool:
        """Held, or ended without its job ever having been started."""
        return self.stage == "held" or (self.over and not self.started_unix_nano)

    def link(self) -> Link | None:
        """Its part in the network; None without one."""
        if self.network is None:
            return None
        return Link(self.run, self.tenant, self.job_name, self.slot, self.mark, self.network)

    def state(self) -> RunState:
        return RunState(
            run=self.run,
            tenant=self.tenant,
            phase=self.stage if self.stage in ("held", "ended", "lost") else "running",
            pid=0 if self.over else self.job.pid,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            started_unix_nano=self.started_unix_nano,
            ended_unix_nano=self.ended_unix_nano,
        )


def write(path: Path, record: Record) -> None:
    """Raises OSError; the old record is then still there."""
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> Record | None:
    """None when there is none, or a power cut left half of one."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        raw["monitor"], raw["job"] = Process(**raw["monitor"]), Process(**raw["job"])
        raw["usage"] = raw["usage"] and Usage(**raw["usage"])
        if raw.get("network") is not None:
            raw["network"] = parse_network(raw["network"])
        if raw.get("check") is not None:
            check = CheckRequest(**raw["check"])
            raw["check"] = replace(check, command=tuple(check.command))
        return Record(**raw)
    except (FileNotFoundError, ValueError, KeyError, TypeError, LauncherError):
        return None
