"""Who is due, and who was put elsewhere meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from agent.mqtt.registry.silence import Watch

SECOND = 1_000_000_000


def test_a_device_is_due_once_at_most_a_slot_late():
    watch = Watch()
    watch.put("d", 60 * SECOND)
    assert watch.take_due(60 * SECOND - 1) == []
    assert watch.take_due(65 * SECOND) == ["d"]
    assert watch.take_due(1000 * SECOND) == []


def test_what_was_put_last_holds():
    watch = Watch()
    watch.put("d", 60 * SECOND)
    watch.put("d", 600 * SECOND)
    assert watch.take_due(300 * SECOND) == []
    watch.put("d", 320 * SECOND)
    assert watch.take_due(325 * SECOND) == ["d"]
    assert watch.take_due(3000 * SECOND) == []


def test_a_dropped_device_is_never_due():
    watch = Watch()
    watch.put("d", SECOND)
    watch.drop("d")
    assert watch.take_due(100 * SECOND) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), max_size=30))
def test_each_is_due_by_its_last_time_and_only_once(puts):
    watch = Watch()
    last = {}
    for device, at in puts:
        watch.put(device, at * SECOND)
        last[device] = at
    taken = {}
    for now in range(0, 211, 5):
        for device in watch.take_due(now * SECOND):
            assert device not in taken
            taken[device] = now
    assert taken.keys() == last.keys()
    assert all(last[device] <= now <= last[device] + 5 for device, now in taken.items())
