"""The agent itself isn't let in any more: it leaves word that the broker start again, from what the agent knows."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.clock import Clock
from agent.fsio import write_atomic

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
# A restart that didn't help (there is no drop-in here, the secret was changed) costs every device its connection.
_PAUSE_SECONDS = 600.0


class Lockout:
    """`is_refused`: the broker is there, and doesn't know us.

    Somebody removed the agent's own user, or the broker was started from something else. No command can mend that.
    """

    def __init__(self, broker_dir: Path, is_refused: Callable[[], bool], clock: Clock) -> None:
        self._word, self._is_refused, self._clock = broker_dir / "restart", is_refused, clock

    async def run(self) -> None:
        """Until cancelled."""
        since = self._clock.seconds()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._is_refused():
                since = self._clock.seconds()
            elif self._clock.seconds() - since > _PATIENCE_SECONDS:
                self._ask()
                await asyncio.sleep(_PAUSE_SECONDS)

    def _ask(self) -> None:
        log.warning("the broker doesn't know the agent: it is to be started again", extra={"word": self._word})
        try:
            write_atomic(self._word, f"{self._clock.wall_nano()}\n".encode(), mode=0o640)
        except OSError as why:
            log.warning("word for the broker can't be left", extra={"word": self._word, "reason": why.strerror})
