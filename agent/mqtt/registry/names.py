"""Whether a message is in the name of another device. Pure.

Names of Sparkplug's and zigbee2mqtt's devices are what those say. A bridge could tell that a lock of the store's own is
away, say what it reads, and use up its idempotency keys at central.
"""

from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry.decoded import Decoded
from agent.mqtt.topics import SPARKPLUG_ROOT, ZIGBEE_ROOT, DeviceTopic, Kind

ANOTHERS = Decoded(None, "in the name of a device that is registered with another protocol")
"""Of such a message: forwarded only where a rule says `undecoded`, and nothing that the device has said."""

_PROTOCOLS = {SPARKPLUG_ROOT: DeviceProtocol.SPARKPLUG, ZIGBEE_ROOT: DeviceProtocol.ZIGBEE2MQTT}


def is_anothers(account: Account | None, where: DeviceTopic, topic: str) -> bool:
    """`account` is that of `where.device`. Below `devices/` the broker has seen to it."""
    if account is None or account.credential not in (Credential.CERTIFICATE, Credential.PASSWORD):
        return False  # it doesn't speak for itself
    protocol = _PROTOCOLS.get(topic.partition("/")[0])
    if protocol is None or where.kind is Kind.COMMAND:
        return False
    return account.protocol is not protocol or account.group != where.group
