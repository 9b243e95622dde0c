"""The bulk connection: a persistent session, read as fast as it is written, acknowledged only when told."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from agent.config.schema import MqttConfig
from agent.mqtt.wire.delivery import Delivery


class Intake:
    """One connection to the broker. It stays usable after it is lost: what is done on it then leads nowhere."""

    def pause(self) -> None:
        """Read no more: TCP then holds the broker back."""
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACK or PUBREC for each, in one write. On a lost connection they go nowhere; the broker delivers again."""
        raise NotImplementedError

    async def lost(self) -> None:
        """Wait until the connection is lost and all that came over it was delivered; always raises AwayError."""
        raise NotImplementedError


@asynccontextmanager
async def connect(
    config: MqttConfig,
    filters: tuple[str, ...],
    deliver: Callable[[Intake, list[Delivery], int], None],
    session_lost: Callable[[], None],
) -> AsyncGenerator[Intake, None]:
    """Resume the session of `config.client_id`, subscribed to `filters`.

    `deliver` is called in the loop, in order, with the messages of each read and how many bytes they took.
    `session_lost` is called before the first of them when the broker knows no session of ours.

    Raises AwayError when the broker is away, refuses us, or the password file can't be read.
    """
    raise NotImplementedError
    yield Intake()
