"""What a run may reach, from its JSON: bounded, named when it is wrong. Pure."""

import re
from collections.abc import Mapping
from typing import Any, cast

from agent.launcher.fields import boolean, listed, number, only, refuse, table, text
from agent.launcher.protocol import Destination, IpProtocol, NetworkRequest, PublishedPort, Reach

MAX_DESTINATIONS = 512
MAX_NAMES = 64
_MAX_ADDRESSES = 16
_MAX_PUBLISHED = 16
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
_BIT_RATES = (64_000, 100_000_000_000)


def octets(address: str) -> int | None:
    """The number that an IPv4 address stands for; None for what isn't one as inet_pton(3) has it."""
    parts = address.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        if not (1 <= len(part) <= 3 and part.isascii() and part.isdigit()) or str(int(part)) != part or int(part) > 255:
            return None
        value = value << 8 | int(part)
    return value


def is_network(cidr: str) -> bool:
    """An IPv4 network with its length and no bit set behind it: "192.0.2.0/24"."""
    address, slash, length = cidr.partition("/")
    value = octets(address)
    if value is None or not slash or not re.fullmatch(r"[0-9]|[12][0-9]|3[0-2]", length):
        return False
    return value & ((1 << (32 - int(length))) - 1) == 0


def _protocol(raw: Mapping[str, Any], where: str) -> IpProtocol:
    match raw.get("protocol"):
        case "tcp":
            return "tcp"
        case "udp":
            return "udp"
        case _:
            raise refuse(where, "protocol is tcp or udp")


def _destination(value: object) -> Destination:
    raw = table(value, "destinations")
    only(raw, ("cidr", "port", "protocol"), "destinations")
    cidr = raw.get("cidr")
    if not isinstance(cidr, str) or not is_network(cidr):
        raise refuse("destinations", "cidr is an IPv4 network as in 192.0.2.0/24")
    return Destination(cidr, number(raw, "port", 1, 65535), _protocol(raw, "destinations"))


def _hosts(value: object) -> dict[str, tuple[str, ...]]:
    raw = table(value, "hosts")
    if len(raw) > MAX_NAMES:
        raise refuse("hosts", f"at most {MAX_NAMES} names")
    found: dict[str, tuple[str, ...]] = {}
    for name in raw:
        text({"hosts": name}, "hosts", _HOST_NAME)
        addresses = listed(raw[name], "hosts", _MAX_ADDRESSES)
        if not all(isinstance(one, str) and octets(one) is not None for one in addresses):
            raise refuse("hosts", "IPv4 addresses")
        found[name] = tuple(cast("list[str]", addresses))
    return found


def parse_reach(value: object) -> Reach:
    """Raises LauncherError(bad-request)."""
    raw = table(value, "reach")
    only(raw, ("destinations", "hosts", "cut"), "reach")
    cut = raw.get("cut", False)
    if not isinstance(cut, bool):
        raise refuse("cut", "true or false")
    destinations = listed(raw.get("destinations", []), "destinations", MAX_DESTINATIONS)
    return Reach(tuple(map(_destination, destinations)), _hosts(raw.get("hosts", {})), cut)


def _published(value: object) -> PublishedPort:
    raw = table(value, "publish")
    only(raw, ("port", "job_port", "protocol"), "publish")
    return PublishedPort(number(raw, "port", 1, 65535), number(raw, "job_port", 1, 65535), _protocol(raw, "publish"))


def parse_network(value: object) -> NetworkRequest:
    """Raises LauncherError(bad-request)."""
    raw = table(value, "network")
    only(raw, ("reach", "publish", "peers", "bits_per_second"), "network")
    publish = tuple(map(_published, listed(raw.get("publish", []), "publish", _MAX_PUBLISHED)))
    if len({(one.port, one.protocol) for one in publish}) < len(publish):
        raise refuse("publish", "each port once")
    return NetworkRequest(
        reach=parse_reach(raw.get("reach", {})),
        publish=publish,
        peers=boolean(raw, "peers"),
        bits_per_second=number({"bits_per_second": 10_000_000} | dict(raw), "bits_per_second", *_BIT_RATES),
    )
