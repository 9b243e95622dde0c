"""What a check finds, and the box it looks at."""

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agent.clock import Clock
from agent.config.schema import Config
from agent.errors import EdgeError
from agent.sandbox import HostFacts

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is what a person does about it; empty when it is ok."""

    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """`launcher` is what the launcher says of itself, or why it says nothing. `root` is / but for tests.

    `lock_opens`: whether the TPM gives what the node's key is locked with; None when there is nothing to open, or who
    asks isn't root.
    """

    config: Config
    clock: Clock
    launcher: HostFacts | EdgeError
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    lock_opens: bool | None = None


def answers(host: str, port: int, seconds: float = 3.0) -> str:
    """Why nothing listens there; empty when something does."""
    try:
        with contextlib.closing(socket.create_connection((host, port), seconds)):
            return ""
    except OSError as error:
        return error.strerror or str(error)
