"""Who says too much: begins at the bound, ends well below it, and each is told once."""

from agent.mqtt.registry.device import Device
from agent.mqtt.registry.loud import MOST_BYTES, MOST_MESSAGES, Loud

SECOND = 1_000_000_000


def test_a_flood_is_named_once_and_its_end_too() -> None:
    loud, device = Loud(), Device(last_seen_unix_nano=SECOND, messages_faded=MOST_MESSAGES + 1)
    devices = {"evil": device, "good": Device(last_seen_unix_nano=SECOND, messages_faded=3000.0)}
    (event,) = loud.look(devices, SECOND)
    assert (event.kind, event.attributes["device"], loud.names) == ("device.loud", "evil", frozenset({"evil"}))
    assert loud.look(devices, 100 * SECOND) == ()
    (event,) = loud.look(devices, 300 * SECOND)
    assert (event.kind, event.attributes["device"], loud.names) == ("device.quiet", "evil", frozenset())
    assert loud.look(devices, 300 * SECOND) == ()


def test_few_messages_with_much_in_them_are_as_loud() -> None:
    loud = Loud()
    devices = {"camera": Device(last_seen_unix_nano=SECOND, messages_faded=10.0, bytes_faded=MOST_BYTES + 1)}
    assert [event.kind for event in loud.look(devices, SECOND)] == ["device.loud"]


def test_who_is_forgotten_is_loud_no_more() -> None:
    loud = Loud()
    loud.look({"evil": Device(messages_faded=MOST_MESSAGES * 2)}, 0)
    assert [event.kind for event in loud.look({}, 0)] == ["device.quiet"]
