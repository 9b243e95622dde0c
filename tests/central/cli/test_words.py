"""Small languages of the document: each has one way to be right."""

from collections.abc import Callable
from typing import Any

import pytest

from central.cli import words
from storeedge.v1.desired_pb2 import Egress, TradingHours


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (words.rate, "10Mbit/s", 10_000_000),
        (words.rate, "64kbit/s", 64_000),
        (words.quota_rate, 0, 0),
        (words.quota_rate, "1Gbit/s", 10**9),
        (words.throughput, "20MiB/s", 20 << 20),
        (words.money, "12.50", 12_500_000),
        (words.money, "0.000001", 1),
        (words.money, "3", 3_000_000),
        (words.place, "203.0.113.0/24:443", Egress(cidr="203.0.113.0/24", port=443, protocol="tcp")),
        (words.place, "udp://192.0.2.7:123", Egress(cidr="192.0.2.7/32", port=123, protocol="udp")),
        (words.place, "tcp://api.example.com:1", Egress(name="api.example.com", port=1, protocol="tcp")),
        (words.timezone, "Europe/Berlin", "Europe/Berlin"),
        (words.hours, "mon-sat 08:00-20:00", TradingHours(weekdays=range(1, 7), from_minute=480, to_minute=1200)),
        (words.hours, "sat,sun 10:00-24:00", TradingHours(weekdays=[6, 7], from_minute=600, to_minute=1440)),
        (words.hours, "sat-mon 00:00-00:30", TradingHours(weekdays=[1, 6, 7], from_minute=0, to_minute=30)),
        (words.hours, "22:00-06:00", TradingHours(from_minute=1320, to_minute=360)),
    ],
)
def test_what_is_right_is_read(read: Callable[[object], Any], text: object, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (words.rate, "10MB/s", '"10Mbit/s" and the like'),
        (words.rate, "1kbit/s", '"10Mbit/s" and the like'),
        (words.rate, 0, '"10Mbit/s" and the like'),
        (words.quota_rate, False, '"10Mbit/s" and the like'),
        (words.throughput, "1KiB/s", '"20MiB/s" and the like'),
        (words.money, 12.5, "an amount in quotes"),
        (words.money, "1.0000001", "an amount in quotes"),
        (words.money, "-1", "an amount in quotes"),
        (words.place, "api.example.com", '"192.0.2.0/24:443", '),
        (words.place, "api.example.com:0", '"192.0.2.0/24:443", '),
        (words.place, "192.0.2.7/24:443", "'192.0.2.7/24:443': 192.0.2.7/24 has host bits set"),
        (words.place, "[2001:db8::1]:443", '"192.0.2.0/24:443", '),
        (words.place, "Api.Example:443", "'Api.Example:443': neither"),
        (words.timezone, "Europe/Berlyn", "a time zone's name, e.g. \"Europe/Berlin\"; did you mean 'Europe/Berlin'?"),
        (words.timezone, 3, "a time zone's name"),
        (words.hours, "mon-fri 8-20", '"mon-sat 08:00-20:00", '),
        (words.hours, "mo-fr 08:00-20:00", "days are mon, tue"),
        (words.hours, "mon,mon 08:00-20:00", "'mon,mon' names a day twice"),
        (words.hours, "08:60-20:00", "times from 00:00"),
        (words.hours, "24:00-01:00", "times from 00:00"),
        (words.hours, "08:00-08:00", "times from 00:00"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(read: Callable[[object], Any], text: object, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        read(text)
    assert str(caught.value).startswith(said), str(caught.value)


def test_the_nearest_known_word_is_offered() -> None:
    assert words.near("memroy", ["memory", "disk"]) == "did you mean 'memory'? "
    assert words.near("zzz", ["memory", "disk"]) == ""
