"""What became of an enrolment file: kept for `edge-agent doctor`, and for the unit that takes the token away.

state_dir/first-boot.json: {"file", "sha256" of the file, "outcome": waiting|refused|enrolled, "text", "time"}. The
unit's script (systemd/bin/edge-first-boot) looks for the digest: on an enrolled box this is the file that did it.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.clock import Clock
from agent.fsio import write_atomic

_log = logging.getLogger(__name__)
_NAME = "first-boot.json"


@dataclass(frozen=True, slots=True)
class Told:
    """The last that was noted. `time` is UTC, as text."""

    file: str
    outcome: str
    text: str
    time: str


class Note:
    def __init__(self, state_dir: Path, data: bytes, file: str, clock: Clock) -> None:
        """Written at once: a power cut in the moment of success must not leave a token that nobody takes away."""
        self._path, self._file, self._clock = state_dir / _NAME, file, clock
        self._digest = hashlib.sha256(data).hexdigest()
        self.take("waiting", "trying")

    def take(self, outcome: str, text: str) -> None:
        """A disk that fails takes nothing from the enrolment itself."""
        when = datetime.fromtimestamp(self._clock.wall_nano() // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {"file": self._file, "sha256": self._digest, "outcome": outcome, "text": text, "time": when}
        try:
            write_atomic(self._path, json.dumps(document, indent=2).encode() + b"\n")
        except OSError as error:
            _log.warning("%s can't be written: %s", self._path, error.strerror)


def told(state_dir: Path) -> Told | None:
    """None when no file was ever tried."""
    try:
        document = json.loads((state_dir / _NAME).read_bytes())
        return Told(*(str(document[name]) for name in ("file", "outcome", "text", "time")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
