"""What the DNS-SD child says of a published port, and on which of the box's networks."""

import socket
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.dnssd_child import described, lan_addresses

SERVICE = {"service": "drone", "protocol": "tcp", "name": "dock on store-7", "port": 20001, "txt": {"v": "1"}}


def adapter(name, *addresses):
    return SimpleNamespace(name=name, ips=[SimpleNamespace(ip=each, is_IPv4=":" not in each) for each in addresses])


BOX = (
    adapter("lo", "127.0.0.1", "::1"),
    adapter("eth0", "192.168.1.5", "fe80::1"),
    adapter("eth1", "203.0.113.9"),
    adapter("wlan0", "169.254.7.7", "10.1.2.3"),
    adapter("ej7", "10.222.0.29"),
    adapter("docker0", "172.17.0.1"),
)


def test_by_default_it_is_the_stores_own_network() -> None:
    assert lan_addresses((), BOX) == ("10.1.2.3", "192.168.1.5")


def test_interfaces_that_are_named_are_taken_as_they_are() -> None:
    assert lan_addresses(["eth1", "eth9"], BOX) == ("203.0.113.9",)


def test_a_port_is_described_as_clients_look_for_it() -> None:
    info = described("store-7.example", SERVICE, ["192.168.1.5"])
    assert info.type == "_drone._storeedge._tcp.local."
    assert info.name == "dock on store-7._drone._storeedge._tcp.local."
    assert (info.server, info.port) == ("store-7-example-storeedge.local.", 20001)
    assert info.properties == {b"v": b"1"} and info.addresses == [socket.inet_aton("192.168.1.5")]


@given(
    st.text(st.characters(exclude_categories=("C", "Z")), max_size=80),
    st.text(alphabet="abcdefghij-", min_size=1, max_size=48),
    st.sampled_from(["a", "b" * 15]),
)
def test_whatever_a_node_is_called_its_names_fit_a_label(host, job, service) -> None:
    info = described(host, {**SERVICE, "service": service, "name": f"{job} on {host}"}, ["192.168.1.5"])
    instance = info.name.removesuffix(f".{info.type}")
    assert len(f"{instance}._{service}".encode()) <= 63 and "." not in instance and instance
    assert len(info.server.split(".", maxsplit=1)[0]) <= 63 and info.server.split(".")[0].isascii()
