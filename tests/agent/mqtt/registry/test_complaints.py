"""Once a minute for each."""

from agent.mqtt.registry.complaints import Complaints

SECOND = 1_000_000_000


def test_one_device_is_complained_of_once_a_minute():
    complaints = Complaints()
    assert complaints.allow("d", 0)
    assert not complaints.allow("d", 59 * SECOND)
    assert complaints.allow("e", 59 * SECOND)
    assert complaints.allow("d", 60 * SECOND)


def test_a_flood_of_names_is_not_told_but_bounded():
    complaints = Complaints()
    assert sum(complaints.allow(f"d{number}", SECOND) for number in range(5000)) == 1000
    assert complaints.allow("d4999", 62 * SECOND)


def test_a_clock_that_went_back_keeps_nobody_quiet():
    complaints = Complaints()
    assert complaints.allow("d", 1000 * SECOND)
    assert complaints.allow("d", 1 * SECOND)
