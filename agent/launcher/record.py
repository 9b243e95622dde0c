"""What the launcher knows of a run, on disk before it acts. Written beside and renamed: never a half of it.

Not fsynced: a power cut ends every run anyway, and a record of another boot only says "lost".
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from agent.launcher.monitor import NOBODY, Process
from agent.launcher.protocol import RunState, Usage

# starting: accepted, perhaps nothing done yet. created: the sandbox exists, its job may have been started.
Stage = Literal["starting", "created", "running", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class Record:
    run: str
    tenant: str
    slot: int
    boot_id: str
    stage: Stage = "starting"
    monitor: Process = NOBODY
    job: Process = NOBODY
    started_unix_nano: int = 0
    ended_unix_nano: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    usage: Usage | None = None  # the last one, once ended
    log_bytes: int = 0

    def state(self) -> RunState:
        over = self.stage in ("ended", "lost")
        return RunState(
            run=self.run,
            tenant=self.tenant,
            phase="ended" if self.stage == "ended" else "lost" if self.stage == "lost" else "running",
            pid=0 if over else self.job.pid,
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
        return Record(**raw)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
