"""Small languages in a file that people write: money, rates, places, opening hours. Pure; checks as in checks.py."""

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches

from storeedge.v1.desired_pb2 import Egress, TradingHours

_RATE = re.compile(r"(\d{1,9})(bit|kbit|Mbit|Gbit)/s")
_BITS = {"bit": 1, "kbit": 1000, "Mbit": 1_000_000, "Gbit": 1_000_000_000}
_THROUGHPUT = re.compile(r"(\d{1,9})(B|KiB|MiB|GiB)/s")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_MONEY = re.compile(r"\d{1,12}(\.\d{1,6})?")
_PLACE = re.compile(r"(?:(tcp|udp)://)?([^:\s]+):(\d{1,5})")
_NAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHEN = re.compile(r"(?:([a-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)")


def near(word: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    """What was perhaps meant, as the beginning of a remedy; nothing when nothing is like it."""
    found = get_close_matches(word, list(known), 1)
    return f"did you mean {found[0]!r}? " if found else ""


def rate(value: object) -> int:
    """Bits per second from "10Mbit/s"."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    bits = int(found[1]) * _BITS[found[2]] if found else 0
    if not 64_000 <= bits <= 100_000_000_000:
        raise ValueError(f'"10Mbit/s" and the like (kbit/s, Mbit/s, Gbit/s), 64kbit/s..100Gbit/s, not {value!r}')
    return bits


def quota_rate(value: object) -> int:
    """As `rate`, and 0 for none at all."""
    return 0 if value == 0 and value is not False else rate(value)


def throughput(value: object) -> int:
    """Bytes per second from "20MiB/s"."""
    found = _THROUGHPUT.fullmatch(value) if isinstance(value, str) else None
    count = int(found[1]) * _BYTES[found[2]] if found else 0
    if count < 64 << 10:
        raise ValueError(f'"20MiB/s" and the like (KiB/s, MiB/s, GiB/s), at least 64KiB/s, not {value!r}')
    return count


def money(value: object) -> int:
    """Millionths of the unit of account from "12.50"; never from a float, which rounds."""
    if not isinstance(value, str) or not _MONEY.fullmatch(value):
        raise ValueError(f'an amount in quotes, with at most 6 decimals, e.g. "12.50", not {value!r}')
    return int(Decimal(value) * 1_000_000)


def place(value: object) -> Egress:
    """From "203.0.113.0/24:443", "api.example.com:443", "udp://192.0.2.7:123"."""
    found = _PLACE.fullmatch(value) if isinstance(value, str) else None
    if not found or not 1 <= int(found[3]) <= 65_535:
        raise ValueError(f'"192.0.2.0/24:443", "api.example.com:443" or "udp://192.0.2.7:123", not {value!r}')
    protocol, host, port = found[1] or "tcp", found[2], int(found[3])
    if re.fullmatch(r"[0-9./]+", host):
        try:
            return Egress(cidr=str(ipaddress.IPv4Network(host)), port=port, protocol=protocol)
        except ValueError as error:
            raise ValueError(f"{value!r}: {error}") from None
    if not _NAME.fullmatch(host):
        raise ValueError(f"{value!r}: neither an IPv4 network nor a DNS name in small letters")
    return Egress(name=host, port=port, protocol=protocol)


def timezone(value: object) -> str:
    known = zoneinfo.available_timezones()
    if not isinstance(value, str) or (known and value not in known):  # none: this machine has no such table
        hint = near(str(value), sorted(known))
        raise ValueError(f'a time zone\'s name, e.g. "Europe/Berlin"; {hint}{value!r} is none')
    return value


def hours(value: object) -> TradingHours:
    """From "mon-sat 08:00-20:00", "sat,sun 10:00-24:00", "22:00-06:00" (every day, into the next)."""
    found = _WHEN.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'"mon-sat 08:00-20:00", "sat,sun 10:00-24:00" or "22:00-06:00" (every day), not {value!r}')
    begin, end = int(found[2]) * 60 + int(found[3]), int(found[4]) * 60 + int(found[5])
    if begin > 1439 or not 1 <= end <= 1440 or int(found[3]) > 59 or int(found[5]) > 59 or begin == end:
        raise ValueError(f"times from 00:00 to 24:00 that differ, not {value!r}")
    return TradingHours(weekdays=_weekdays(found[1] or ""), from_minute=begin, to_minute=end)


def _weekdays(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        wrong = next((day for day in (first, last or first) if day not in _DAYS), None)
        if wrong is not None:
            raise ValueError(f"days are {', '.join(_DAYS)}, not {wrong!r}")
        begin, end = _DAYS.index(first), _DAYS.index(last if dash else first)
        days += [(begin + step) % 7 + 1 for step in range((end - begin) % 7 + 1)]
    if len(set(days)) < len(days):
        raise ValueError(f"{text!r} names a day twice")
    return sorted(days)
