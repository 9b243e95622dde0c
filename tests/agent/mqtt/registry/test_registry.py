"""Who was heard of, and who says it is there."""

from agent.model import Event
from agent.mqtt.registry.registry import Registry
from agent.mqtt.topics import parse


def say(registry, topic, payload=b"1", *, now=100, retained=False):
    where = parse(topic)
    assert where is not None
    return registry.observe(where, topic, payload, retained=retained, now_unix_nano=now)


def test_the_first_message_makes_a_device_known_and_online():
    registry = Registry()
    event = say(registry, "devices/d/temp", b"4.2", now=100)
    assert event == Event(kind="device.online", attributes={"device": "d"})
    assert say(registry, "devices/d/door", b"open", now=200) is None
    view = registry.get("d")
    assert view is not None
    assert (view.online, view.first_seen_unix_nano, view.last_seen_unix_nano) == (True, 100, 200)
    assert (view.messages, view.payload_bytes, view.last_topic) == (2, 7, "devices/d/door")


def test_a_device_is_offline_by_its_word_or_its_last_will_and_back_with_any_message():
    registry = Registry()
    say(registry, "devices/d/status", b"online", now=100)
    event = say(registry, "devices/d/status", b" Offline\n", now=200)
    assert event is not None and event.kind == "device.offline"
    view = registry.get("d")
    assert view is not None and not view.online and view.last_seen_unix_nano == 100
    assert say(registry, "devices/d/status", b"offline") is None
    event = say(registry, "devices/d/temp")
    assert event is not None and event.kind == "device.online"


def test_another_word_as_status_is_just_a_message():
    registry = Registry()
    event = say(registry, "devices/d/status", b'{"battery": 3}')
    assert event is not None and event.kind == "device.online"


def test_a_retained_message_is_no_sighting_but_a_retained_status_is_believed():
    registry = Registry()
    assert say(registry, "devices/d/temp", now=100, retained=True) is None
    view = registry.get("d")
    assert view is not None and not view.online
    event = say(registry, "devices/d/status", b"online", now=200, retained=True)
    assert event is not None and event.kind == "device.online"
    view = registry.get("d")
    assert view is not None and view.last_seen_unix_nano == 100


def test_a_command_to_a_device_is_not_its_own_word_but_its_answer_is():
    registry = Registry()
    assert say(registry, "devices/d/cmd/open") is None
    assert registry.get("d") is None
    assert say(registry, "devices/d/cmd/open/ack") is not None


def test_beyond_the_limit_the_longest_unseen_is_forgotten():
    registry = Registry(limit=3)
    for number, name in enumerate("abc"):
        say(registry, f"devices/{name}/x", now=number)
    say(registry, "devices/a/x", now=10)
    registry.take_changes()
    say(registry, "devices/d/x", now=11)
    assert [view.id for view in registry.views()] == ["a", "c", "d"]
    changes = registry.take_changes()
    assert changes.gone == ("b",)
    assert [view.id for view in changes.changed] == ["d"]


def test_changes_are_due_once_and_again_when_they_could_not_be_written():
    registry = Registry()
    say(registry, "devices/a/x")
    changes = registry.take_changes()
    assert [view.id for view in changes.changed] == ["a"]
    assert registry.take_changes().changed == ()
    registry.put_back(changes)
    assert registry.take_changes() == changes


def test_a_restored_registry_goes_on_where_it_was_and_tells_nothing_twice():
    before = Registry()
    say(before, "devices/a/x", now=1)
    say(before, "devices/b/x", now=2)
    after = Registry(limit=2)
    after.restore(reversed(before.views()))
    assert after.views() == before.views()
    assert say(after, "devices/a/x", now=3) is None
    say(after, "devices/c/x", now=4)
    assert [view.id for view in after.views()] == ["a", "c"]
