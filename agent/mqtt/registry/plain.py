"""Plain devices: what a last payload says, looked at only when somebody asks. Pure."""

from agent.model import DeviceValue
from agent.mqtt.registry.readings import Reading, Sort, read, scalars

# Longer ones are not kept, so not looked at: 20,000 devices would make 3 MB of these.
MAX_KEPT_BYTES = 128


def values(topic: str, payload: bytes) -> tuple[DeviceValue, ...]:
    """`devices/<id>/<channel>`: a number or a word is called as the channel, members of a JSON object as they are."""
    channel = topic.split("/", 2)[-1]
    if payload.lstrip().startswith(b"{"):
        return scalars(payload)
    if not payload.isascii() or not payload.strip():
        return ()
    return read((Reading(topic, channel, "", Sort.NUMBER_OR_TEXT, None),), payload)
