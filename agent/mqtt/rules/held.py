"""Messages that a rule holds, durable: the broker has been told that we have them."""

from collections.abc import Sequence
from pathlib import Path

from agent.model import DeviceMessage
from agent.mqtt.rules.backlog import Backlog
from agent.mqtt.rules.judge import Hold


class Held:
    """`state_dir/held.db`. The file is opened with the first message that is held, or when it is there already."""

    def __init__(self, path: Path, backlog: Backlog) -> None:
        self._path = path
        self._backlog = backlog

    async def put(self, messages: Sequence[tuple[DeviceMessage, Hold]]) -> None:
        """Durable on return. Raises StorageError when they can't be; then none of them is kept."""
        raise NotImplementedError
