import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launcher.protocol import Destination, LauncherError, NetworkRequest, Reach
from agent.launcher.reach import is_network, octets, parse_network, parse_reach

NET = {"cidr": "192.0.2.0/24", "port": 443, "protocol": "tcp"}


def test_a_reach_is_taken_whole() -> None:
    raw = {"destinations": [NET], "hosts": {"pos.example.com": ["192.0.2.7"]}, "cut": True}
    assert parse_reach(raw) == Reach(
        (Destination("192.0.2.0/24", 443, "tcp"),), {"pos.example.com": ("192.0.2.7",)}, True
    )
    assert parse_reach({}) == Reach()
    assert parse_network({}) == NetworkRequest()


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ([], "reach"), ({"dns": "1.1.1.1"}, "reach"), ({"cut": 1}, "cut"),
        ({"destinations": [NET | {"cidr": "192.0.2.1/24"}]}, "destinations"),
        ({"destinations": [NET | {"cidr": "::/0"}]}, "destinations"),
        ({"destinations": [NET | {"protocol": "icmp"}]}, "destinations"),
        ({"destinations": [NET | {"port": 0}]}, "port"),
        ({"destinations": [NET | {"via": "eth0"}]}, "destinations"),
        ({"destinations": [NET] * 513}, "destinations"),
        ({"hosts": {"a\n127.0.0.1 b": ["192.0.2.7"]}}, "hosts"),
        ({"hosts": {"a b": ["192.0.2.7"]}}, "hosts"),
        ({"hosts": {"a": ["192.0.2.7\n"]}}, "hosts"),
        ({"hosts": {"a": ["fe80::1"]}}, "hosts"),
        ({"hosts": {"a": ["192.0.2.7"] * 17}}, "hosts"),
        ({"hosts": {f"a{n}": [] for n in range(65)}}, "hosts"),
    ],
)  # fmt: skip
def test_what_a_reach_may_not_say_is_refused_by_name(raw: object, field: str) -> None:
    with pytest.raises(LauncherError) as refused:
        parse_reach(raw)
    assert (refused.value.code, refused.value.field) == ("bad-request", field)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"publish": [{"port": 80, "job_port": 80, "protocol": "tcp"}] * 2}, "publish"),
        ({"publish": [{"port": 80, "job_port": 80, "protocol": "tcp"}] * 17}, "publish"),
        ({"publish": [{"port": 80, "job_port": 0, "protocol": "tcp"}]}, "job_port"),
        ({"peers": "yes"}, "peers"), ({"bits_per_second": 1}, "bits_per_second"), ({"bridge": "br0"}, "network"),
    ],
)  # fmt: skip
def test_what_a_network_may_not_say_is_refused_by_name(raw: object, field: str) -> None:
    with pytest.raises(LauncherError) as refused:
        parse_network(raw)
    assert refused.value.field == field


@given(st.from_regex(r"[0-9.]{1,16}", fullmatch=True) | st.ip_addresses(v=4).map(str) | st.text(max_size=16))
def test_an_address_is_what_the_library_says(word: str) -> None:
    try:
        known = int(ipaddress.IPv4Address(word))
    except ValueError:
        known = None
    assert octets(word) == known


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_network_is_what_the_library_says(address: ipaddress.IPv4Address, length: int) -> None:
    word = f"{address}/{length}"
    try:
        known = bool(ipaddress.IPv4Network(word))
    except ValueError:
        known = False
    assert is_network(word) == known
    assert is_network(str(ipaddress.IPv4Network(word, strict=False)))
    assert not is_network(json.dumps(word))
