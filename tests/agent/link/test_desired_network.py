"""agent/link/desired_network.py."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.link.desired_network import is_name, is_network, network
from agent.spec import Egress, Network, Publish
from storeedge.v1 import desired_pb2 as wire


def test_defaults_are_filled_in_as_the_proto_says() -> None:
    assert network("n", wire.Network()) == Network(bits_per_second=10_000_000)
    message = wire.Network(
        egress=[wire.Egress(cidr="192.0.2.0/24", port=443), wire.Egress(name="a.example", port=53, protocol="udp")],
        publish=[wire.Publish(port=8443, service="offload", txt={"v": "1"}), wire.Publish(port=80, job_port=8080)],
        peers=True,
        bits_per_second=64_000,
        bytes_per_month=5,
    )
    assert network("n", message) == Network(
        (Egress(443, "tcp", "192.0.2.0/24"), Egress(53, "udp", "", "a.example")),
        (Publish(8443, 8443, "tcp", "offload", {"v": "1"}), Publish(80, 8080)),
        True,
        64_000,
        5,
    )


NINE = dict.fromkeys("abcdefghi", "")
BAD: list[tuple[str, Callable[[wire.Network], object]]] = [
    ("n.egress: at most 64", lambda n: n.egress.extend([wire.Egress()] * 65)),
    ("n.publish: at most 16", lambda n: n.publish.extend([wire.Publish()] * 17)),
    ("n.egress[0]: exactly one", lambda n: n.egress.append(wire.Egress(port=1))),
    ("n.egress[0]: exactly one", lambda n: n.egress.append(wire.Egress(port=1, name="a", cidr="10.0.0.0/8"))),
    ("n.egress[0].cidr: an IPv4", lambda n: n.egress.append(wire.Egress(port=1, cidr="10.0.0.1/8"))),
    ("n.egress[0].name: a DNS", lambda n: n.egress.append(wire.Egress(port=1, name="10.0.0.1"))),
    ("n.egress[0].port: 1..65535, not 0", lambda n: n.egress.append(wire.Egress(name="a"))),
    ("n.egress[0].protocol: tcp or udp", lambda n: n.egress.append(wire.Egress(name="a", port=1, protocol="icmp"))),
    ("n.egress: a:1/tcp comes twice", lambda n: n.egress.extend([wire.Egress(name="a", port=1)] * 2)),
    ("n.publish: 80/tcp comes twice", lambda n: n.publish.extend([wire.Publish(port=80)] * 2)),
    ("n.publish[0].port: 1..65535", lambda n: n.publish.append(wire.Publish())),
    ("n.publish[0].job_port: 1..65535", lambda n: n.publish.append(wire.Publish(port=1, job_port=65_536))),
    ("n.publish[0].service: ", lambda n: n.publish.append(wire.Publish(port=1, service="x" * 16))),
    ("n.publish[0].txt: at most 400", lambda n: n.publish.append(wire.Publish(port=1, txt={"a": "x" * 400}))),
    ("n.publish[0].txt: at most 8", lambda n: n.publish.append(wire.Publish(port=1, txt=NINE))),
    ("n.bits_per_second: 64000..", lambda n: setattr(n, "bits_per_second", 63_999)),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), BAD)
def test_a_value_out_of_bounds_is_refused_with_its_field(said: str, change: Callable[[wire.Network], object]) -> None:
    message = wire.Network()
    change(message)
    with pytest.raises(RefusedError) as refusal:
        network("n", message)
    assert str(refusal.value).startswith(said)


@given(st.from_regex(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}/\d{1,2}", fullmatch=True) | st.text(max_size=20))
def test_a_network_is_what_the_standard_library_takes_for_one(text: str) -> None:
    try:
        expected = str(ipaddress.IPv4Network(text)) == text
    except ValueError:
        expected = False
    assert is_network(text) == expected


@given(st.integers(0, 32), st.integers(0, (1 << 32) - 1))
def test_every_network_is_one(prefix: int, address: int) -> None:
    assert is_network(str(ipaddress.IPv4Network((address & ~((1 << (32 - prefix)) - 1), prefix))))


@pytest.mark.parametrize(
    ("text", "good"),
    [("api.example.com", True), ("localhost", True), ("A.example", False), ("1.2.3.4", False), ("a..b", False),
     ("-a.b", False), ("a b", False), ("x" * 64, False), (".".join(["x" * 60] * 5), False), ("a.b.", False),
     ("a\n", False)],
)  # fmt: skip
def test_a_name_is_made_of_labels_and_is_no_address(text: str, good: bool) -> None:
    assert is_name(text) is good
