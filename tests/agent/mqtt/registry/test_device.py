"""What was said last."""

from agent.model import DeviceValue
from agent.mqtt.registry.device import Device, kept, last_values, remember, restored, view


def test_the_newest_of_each_name_is_kept_by_the_devices_own_time():
    device = Device()
    remember(device, [DeviceValue("b", 1, "", 10), DeviceValue("a", 1)])
    remember(device, [DeviceValue("b", 2, "", 9), DeviceValue("a", 2)])
    assert [(value.name, value.value) for value in last_values(device)] == [("a", 2), ("b", 1)]
    remember(device, [DeviceValue("b", 3)])
    assert [value.value for value in last_values(device)] == [2, 3]


def test_at_most_64_names_are_kept_the_newest():
    device = Device()
    for number in range(100):
        remember(device, [DeviceValue(f"n{number}", number)])
    assert {value.value for value in last_values(device)} == set(range(36, 100))


def test_a_device_is_restored_as_it_was_kept_but_for_what_it_said():
    device = Device(True, True, 1, 2, 3, 4, 5.0, 6.0, "devices/d/x")
    assert restored(kept("d", device)) == device
    assert last_values(restored(kept("d", device))) == ()
    assert last_values(None) == ()


def test_rates_are_those_of_the_moment_it_was_last_seen_when_no_other_is_given():
    device = Device(first_seen_unix_nano=1, last_seen_unix_nano=10**12, messages_faded=5.0, bytes_faded=50.0)
    assert view("d", device, None, 0) == view("d", device, None, 10**12)
    assert view("d", device, None, 2 * 10**12).messages_per_minute < view("d", device, None, 0).messages_per_minute
