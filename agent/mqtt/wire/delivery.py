"""One PUBLISH as it came from the broker."""

from typing import NamedTuple


class Delivery(NamedTuple):
    """A tuple, because one is made for each message: a frozen dataclass costs five times as much.

    `topic` is empty when the packet could not be read (no UTF-8, properties that are none): it has to be acknowledged
    all the same, or it would come again for ever. `packet_id` is 0 for QoS 0. `retained` is MQTT's retain flag, which
    a broker sets only on what it had kept when we subscribed (MQTT 5, 3.3.1.3; we don't ask for retain-as-published).
    `expiry_seconds` is what was left of the message's life when the broker sent it; None: it has no end.
    """

    topic: str
    payload: bytes
    qos: int
    retained: bool
    redelivered: bool
    packet_id: int
    content_type: str = ""
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation_data: bytes = b""
    response_topic: str = ""
    expiry_seconds: int | None = None
