"""Who was heard of, who says it is there, who is silent, and what is shown of each."""

from dataclasses import replace

import pytest

from agent.model import Credential, Event
from agent.mqtt.access.accounts import Account
from agent.mqtt.registry.device import Kept
from agent.mqtt.registry.registry import Registry
from agent.mqtt.topics import parse
from agent.mqtt.wire.delivery import Delivery
from agent.orders import DeviceQuery

SECOND = 1_000_000_000
START = 1000 * SECOND


def say(registry, topic, payload=b"1", *, now=100, retained=False, shown=True):
    where = parse(topic)
    assert where is not None
    delivery = Delivery(topic, payload, 1, retained, False, 1)
    return registry.observe(where, delivery, now, shown, registry.decode(where, delivery))


def listening(*accounts, limit=20_000):
    registry = Registry(limit)
    registry.listen(START)
    registry.follow(accounts)
    return registry


def check_until(registry, end_seconds):
    """As the agent does: every five seconds."""
    events = []
    for at in range(0, end_seconds + 1, 5):
        events += registry.check(START + at * SECOND)
    return [(event.kind, event.attributes["device"]) for event in events]


def ids(registry, **query):
    return [view.id for view in registry.page(DeviceQuery(**query), START).devices]


def test_the_first_message_makes_a_device_known_and_online():
    registry = Registry()
    assert say(registry, "devices/d/temp", b"4.2", now=100) == (
        Event(kind="device.online", attributes={"device": "d"}),
    )
    assert say(registry, "devices/d/door", b"open", now=200) == ()
    view = registry.get("d")
    assert view is not None
    assert (view.online, view.first_seen_unix_nano, view.last_seen_unix_nano) == (True, 100, 200)
    assert (view.messages, view.payload_bytes, view.last_topic) == (2, 7, "devices/d/door")


def test_a_device_is_offline_by_its_word_or_its_last_will_and_back_with_any_message():
    registry = Registry()
    say(registry, "devices/d/status", b"online", now=100)
    (event,) = say(registry, "devices/d/status", b" Offline\n", now=200)
    assert event.kind == "device.offline"
    view = registry.get("d")
    assert view is not None and not view.online and view.last_seen_unix_nano == 100
    assert say(registry, "devices/d/status", b"offline") == ()
    (event,) = say(registry, "devices/d/temp")
    assert event.kind == "device.online"


def test_another_word_as_status_is_just_a_message():
    registry = Registry()
    (event,) = say(registry, "devices/d/status", b'{"battery": 3}')
    assert event.kind == "device.online"


def test_a_retained_message_is_no_sighting_but_a_retained_status_is_believed():
    registry = Registry()
    assert say(registry, "devices/d/temp", now=100, retained=True) == ()
    view = registry.get("d")
    assert view is not None and not view.online
    (event,) = say(registry, "devices/d/status", b"online", now=200, retained=True)
    assert event.kind == "device.online"
    view = registry.get("d")
    assert view is not None and view.last_seen_unix_nano == 100


def test_what_was_retained_and_comes_again_makes_no_event_and_no_rate():
    registry = Registry()
    say(registry, "devices/d/status", b"online", now=100)
    for _ in range(10):
        assert say(registry, "devices/d/status", b"online", now=200, retained=True) == ()
    (view,) = registry.page(DeviceQuery(), 200).devices
    assert 0.9 < view.messages_per_minute < 1.2


def test_a_command_to_a_device_is_not_its_own_word_but_its_answer_is():
    registry = Registry()
    assert say(registry, "devices/d/cmd/open") == ()
    assert registry.get("d") is None
    assert say(registry, "devices/d/cmd/open/ack") != ()


def test_rates_follow_what_a_device_says_and_fade_when_it_says_nothing():
    registry = Registry()
    for number in range(600):
        say(registry, "devices/d/temp", b"x" * 10, now=START + number * SECOND)
    (view,) = registry.page(DeviceQuery(), START + 600 * SECOND).devices
    assert view.messages_per_minute == pytest.approx(60, rel=0.02)
    assert view.bytes_per_minute == pytest.approx(600, rel=0.02)
    (view,) = registry.page(DeviceQuery(), START + 3600 * SECOND).devices
    assert view.messages_per_minute < 0.01


def test_beyond_the_limit_the_longest_unseen_is_forgotten():
    registry = Registry(limit=3)
    for number, name in enumerate("abc"):
        say(registry, f"devices/{name}/x", now=number)
    say(registry, "devices/a/x", now=10)
    registry.take_changes()
    say(registry, "devices/d/x", now=11)
    assert ids(registry) == ["a", "c", "d"]
    changes = registry.take_changes()
    assert changes.gone == ("b",)
    assert [row.id for row in changes.changed] == ["d"]


def test_a_registered_device_is_never_the_one_that_is_forgotten():
    registry = Registry(limit=3)
    say(registry, "devices/mine/x", now=1)
    registry.follow([Account("mine"), Account("other")])
    for number in range(100):
        say(registry, f"devices/stranger-{number}/x", now=10 + number)
    known = ids(registry)
    assert {"mine", "other"} < set(known)
    assert [name for name in known if name.startswith("stranger")] == [
        "stranger-97",
        "stranger-98",
        "stranger-99",
    ]
    mine = registry.get("mine")
    assert mine is not None and mine.messages == 1
    registry.follow([])
    say(registry, "devices/new/x", now=1000)
    assert "mine" not in ids(registry)


def test_changes_are_due_once_and_again_when_they_could_not_be_written():
    registry = Registry()
    say(registry, "devices/a/x")
    changes = registry.take_changes()
    assert [row.id for row in changes.changed] == ["a"]
    assert not registry.take_changes()
    registry.put_back(changes)
    assert registry.take_changes() == changes


def test_many_changes_are_taken_in_parts():
    registry = Registry()
    for number in range(10):
        say(registry, f"devices/{number}/x")
    assert [len(registry.take_changes(most=4).changed) for _ in range(4)] == [4, 4, 2, 0]


def test_a_restored_registry_goes_on_where_it_was_and_tells_nothing_twice():
    before = Registry()
    say(before, "devices/a/x", now=1)
    say(before, "devices/b/x", now=2)
    after = Registry(limit=2)
    after.restore(reversed(before.take_changes().changed))
    assert after.page(DeviceQuery(), 2) == before.page(DeviceQuery(), 2)
    assert say(after, "devices/a/x", now=3) == ()
    say(after, "devices/c/x", now=4)
    assert ids(after) == ["a", "c"]


def test_what_was_announced_is_known_after_a_restart():
    before, after = Registry(), Registry()
    say(before, "homeassistant/sensor/d/t/config", b'{"stat_t":"devices/d/t","unit_of_meas":"Cel"}', retained=True)
    after.restore((), before.take_changes().announced)
    say(after, "devices/d/t", b"4.5")
    (view,) = after.page(DeviceQuery(device="d"), START).devices
    assert [(value.value, value.unit) for value in view.values] == [(4.5, "Cel")]


def test_a_forgotten_device_is_gone_from_the_file_too():
    registry = Registry()
    say(registry, "devices/a/x")
    registry.take_changes()
    registry.forget("a")
    assert registry.get("a") is None
    assert registry.take_changes().gone == ("a",)


# --- silence ---------------------------------------------------------------------------------------


def test_a_device_silent_for_too_long_is_told_once_and_when_it_comes_back():
    registry = listening(Account("d", silent_after_seconds=60))
    say(registry, "devices/d/x", now=START + 10 * SECOND)
    assert check_until(registry, 65) == []
    assert check_until(registry, 300) == [("device.silent", "d")]
    assert ids(registry, silent=True) == ["d"]
    (event,) = say(registry, "devices/d/x", now=START + 300 * SECOND)
    assert (event.kind, event.attributes) == ("device.heard", {"device": "d"})
    assert ids(registry, silent=True) == []
    assert say(registry, "devices/d/x", now=START + 301 * SECOND) == ()


def test_one_that_speaks_is_never_silent_however_often_it_is_looked_at():
    registry = listening(Account("d", silent_after_seconds=60))
    for at in range(0, 3600, 50):
        say(registry, "devices/d/x", now=START + at * SECOND)
        assert registry.check(START + at * SECOND) == ()


def test_a_device_that_was_never_heard_is_silent_too():
    registry = listening(Account("d", silent_after_seconds=60))
    assert check_until(registry, 300) == [("device.silent", "d")]
    (view,) = registry.page(DeviceQuery(silent=True), START).devices
    assert (view.first_seen_unix_nano, view.messages) == (0, 0)
    kinds = [event.kind for event in say(registry, "devices/d/x", now=START + 301 * SECOND)]
    assert kinds == ["device.heard", "device.online"]
    view = registry.get("d")
    assert view is not None and view.first_seen_unix_nano == START + 301 * SECOND


def test_a_device_that_is_new_has_its_time_too():
    registry = listening()
    check_until(registry, 600)
    registry.follow([Account("d", silent_after_seconds=60, created_unix_nano=START + 600 * SECOND)])
    assert registry.check(START + 655 * SECOND) == ()
    assert registry.check(START + 670 * SECOND) != ()


def test_without_a_bound_a_device_may_be_silent_for_ever():
    registry = listening(Account("d"))
    say(registry, "devices/d/x", now=START)
    assert check_until(registry, 3600) == []


def test_while_the_broker_is_away_nobody_is_silent():
    registry = listening(Account("d", silent_after_seconds=60))
    say(registry, "devices/d/x", now=START)
    registry.deafen()
    assert check_until(registry, 600) == []
    registry.listen(START + 600 * SECOND)
    assert registry.check(START + 655 * SECOND) == ()
    (event,) = registry.check(START + 670 * SECOND)
    assert event.kind == "device.silent"


def test_a_clock_that_was_set_makes_nobody_silent():
    registry = listening(Account("d", silent_after_seconds=60))
    say(registry, "devices/d/x", now=START)
    registry.check(START + 5 * SECOND)
    a_year = 365 * 86_400 * SECOND
    assert registry.check(START + a_year) == ()
    assert registry.check(START + a_year + 50 * SECOND) == ()
    assert registry.check(START + a_year + 66 * SECOND) != ()


def test_an_account_that_changes_is_judged_by_what_it_says_now():
    registry = listening(Account("d", silent_after_seconds=60))
    registry.follow([Account("d", silent_after_seconds=600)])
    assert check_until(registry, 595) == []
    registry.follow([Account("d", silent_after_seconds=0)])
    assert check_until(registry, 3600) == []
    registry.follow([Account("d", silent_after_seconds=60)])
    assert registry.check(START + 3605 * SECOND) != ()
    registry.follow([Account("d")])
    assert ids(registry, silent=True) == []


def test_who_was_silent_before_a_restart_is_not_told_again():
    before = listening(Account("d", silent_after_seconds=60))
    check_until(before, 300)
    after = Registry()
    after.restore(before.take_changes().changed)
    after.listen(START)
    after.follow([Account("d", silent_after_seconds=60)])
    assert check_until(after, 300) == []
    assert [event.kind for event in say(after, "devices/d/x", now=START)] == ["device.heard", "device.online"]


# --- what may leave --------------------------------------------------------------------------------


def test_of_what_stays_in_the_store_only_that_it_was_is_known():
    registry = Registry()
    say(registry, "devices/d/temp", b"4.2")
    say(registry, "devices/d/secret", b'{"patient": "x"}', shown=False)
    (view,) = registry.page(DeviceQuery(device="d"), START).devices
    assert (view.messages, view.last_topic) == (2, "devices/d/temp")
    assert [(value.name, value.value) for value in view.values] == [("temp", 4.2)]


def test_what_a_kept_announcement_says_is_not_used_on_what_leaves():
    registry = Registry()
    say(registry, "homeassistant/sensor/d/t/config", b'{"stat_t":"devices/d/t","name":"patient"}', shown=False)
    say(registry, "devices/d/t", b"4.5")
    (view,) = registry.page(DeviceQuery(device="d"), START).devices
    assert [value.name for value in view.values] == ["t"]
    assert registry.take_changes().announced[-1].payload == b""


def test_the_complaint_about_a_malformed_payload_quotes_nothing_and_comes_once_a_minute():
    registry = Registry()
    events = say(registry, "spBv1.0/g/NDATA/n", b"\xff secret", now=START)
    assert [event.kind for event in events] == ["device.malformed", "device.online"]
    assert "secret" not in repr(events)
    assert say(registry, "spBv1.0/g/NDATA/n", b"\xff secret", now=START + 59 * SECOND) == ()
    (event,) = say(registry, "spBv1.0/g/NDATA/n", b"\xff secret", now=START + 60 * SECOND)
    assert (event.kind, event.attributes) == ("device.malformed", {"device": "n"})


# --- pages -----------------------------------------------------------------------------------------


def test_pages_go_through_all_by_id_registered_or_heard_of():
    registry = listening(Account("b", "cold", "fridge", credential=Credential.PASSWORD), Account("d"))
    for name in "ca":
        say(registry, f"devices/{name}/x")
    first = registry.page(DeviceQuery(limit=3), START)
    assert ([view.id for view in first.devices], first.more) == (["a", "b", "c"], True)
    assert (first.total, first.online) == (4, 2)
    second = registry.page(DeviceQuery(after="c", limit=3), START)
    assert ([view.id for view in second.devices], second.more) == (["d"], False)
    view = first.devices[1]
    assert (view.zone, view.device_class, view.credential) == ("cold", "fridge", Credential.PASSWORD)
    assert view.values == ()


def test_a_page_of_a_zone_a_class_or_one_device():
    registry = listening(Account("a", "cold", "fridge"), Account("b", "cold", "door"), Account("c", "hot", "door"))
    say(registry, "devices/x/t")
    assert ids(registry, zone="cold") == ["a", "b"]
    assert ids(registry, device_class="door") == ["b", "c"]
    assert ids(registry, zone="cold", device_class="door") == ["b"]
    assert ids(registry, zone="cold", limit=1) == ["a"]
    assert registry.page(DeviceQuery(zone="cold", limit=1), START).more
    assert not registry.page(DeviceQuery(zone="cold", limit=2), START).more
    assert ids(registry, device="x") == ["x"]
    assert ids(registry, device="nobody") == []
    assert registry.get("nobody") is None


def test_a_silent_device_whose_account_is_gone_is_silent_no_more_and_may_speak():
    registry = listening(Account("d", silent_after_seconds=10))
    assert ("device.silent", "d") in check_until(registry, 30)
    registry.follow(())
    assert ids(registry, silent=True) == []
    assert [event.kind for event in say(registry, "devices/d/temp")] == ["device.online"]


def test_a_device_that_was_silent_when_the_accounts_were_lost_may_speak():
    registry = Registry()
    registry.restore([Kept("d", True, 1, 1, 1, 1, "devices/d/temp", silent=True)])
    assert [event.kind for event in say(registry, "devices/d/temp")] == ["device.heard"]
    assert ids(registry, silent=True) == []


def test_who_is_revoked_is_offline_and_what_is_taken_away_of_it_is_no_sighting():
    scale = Account("scale", credential=Credential.PASSWORD)
    registry = listening(scale)
    say(registry, "devices/scale/status", b"online")
    registry.follow([replace(scale, credential=Credential.REVOKED)])
    assert [event.kind for event in registry.check(START)] == ["device.offline"]
    assert say(registry, "devices/scale/status", b"") == ()
    registry.follow([])
    registry.forget("scale")
    assert say(registry, "devices/scale/status", b"") == ()
    assert ids(registry) == []
