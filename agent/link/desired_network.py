"""What a job may reach and who may reach it, from the wire's message. Pure: the bounds of desired.proto."""

import re

from agent.link.field import bounded, check, unique
from agent.spec import Egress, Network, Publish
from storeedge.v1 import desired_pb2

_MIN_RATE, _MAX_RATE = 64_000, 100_000_000_000
_DEFAULT_RATE = 10_000_000
_SIGNED = (1 << 63) - 1
_PROTOCOLS = ("tcp", "udp")
_SERVICE = re.compile(r"[a-z0-9-]{1,15}")
# LDH labels; a name of digits and dots only would be an address.
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CIDR = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})/(\d{1,2})")


def network(at: str, message: desired_pb2.Network) -> Network:
    """Raises RefusedError(BAD_REQUEST) that names the field and what it takes."""
    check(len(message.egress) <= 64, f"{at}.egress", "at most 64")
    check(len(message.publish) <= 16, f"{at}.publish", "at most 16")
    egress = tuple(_egress(f"{at}.egress[{index}]", each) for index, each in enumerate(message.egress))
    publish = tuple(_publish(f"{at}.publish[{index}]", each) for index, each in enumerate(message.publish))
    unique((f"{each.cidr or each.name}:{each.port}/{each.protocol}" for each in egress), f"{at}.egress")
    unique((f"{each.port}/{each.protocol}" for each in publish), f"{at}.publish")
    rate = message.bits_per_second or _DEFAULT_RATE
    return Network(
        egress=egress,
        publish=publish,
        peers=message.peers,
        bits_per_second=bounded(rate, _MIN_RATE, _MAX_RATE, f"{at}.bits_per_second"),
        bytes_per_month=bounded(message.bytes_per_month, 0, _SIGNED, f"{at}.bytes_per_month"),
    )


def _egress(at: str, message: desired_pb2.Egress) -> Egress:
    check(bool(message.cidr) != bool(message.name), at, "exactly one of cidr and name")
    check(not message.cidr or is_network(message.cidr), f"{at}.cidr", "an IPv4 network such as 192.0.2.0/24")
    check(not message.name or is_name(message.name), f"{at}.name", "a DNS name in small letters")
    port = bounded(message.port, 1, 65_535, f"{at}.port")
    return Egress(port, _protocol(at, message.protocol), message.cidr, message.name)


def _publish(at: str, message: desired_pb2.Publish) -> Publish:
    txt = dict(message.txt)
    check(not message.service or bool(_SERVICE.fullmatch(message.service)), f"{at}.service", _SERVICE.pattern)
    check(len(txt) <= 8, f"{at}.txt", "at most 8")
    check(sum(len((k + v).encode()) for k, v in txt.items()) <= 400, f"{at}.txt", "at most 400 bytes together")
    port = bounded(message.port, 1, 65_535, f"{at}.port")
    return Publish(
        port=port,
        job_port=bounded(message.job_port or port, 1, 65_535, f"{at}.job_port"),
        protocol=_protocol(at, message.protocol),
        service=message.service,
        txt=txt,
    )


def _protocol(at: str, protocol: str) -> str:
    check(protocol in ("", *_PROTOCOLS), f"{at}.protocol", "tcp or udp")
    return protocol or "tcp"


def is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and not text.replace(".", "").isdecimal()


def is_network(text: str) -> bool:
    """Whether it is an IPv4 network in the form a.b.c.d/n with no bits below the prefix.

    Not by the ipaddress module: it would cost the daemon 1.0 MB, for this line.
    """
    found = _CIDR.fullmatch(text)
    if not found:
        return False
    *octets, prefix = (int(number) for number in found.groups())
    if prefix > 32 or any(octet > 255 for octet in octets):
        return False
    if any(str(int(part)) != part for part in found.groups()):
        return False
    address = int.from_bytes(bytes(octets))
    return address & ((1 << (32 - prefix)) - 1) == 0
