"""What the launcher is asked for: all of the spec, and never a way into the store that no cidr names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jobs.request import MAX_DESTINATIONS, job_request, names, reach
from agent.launcher.protocol import to_json
from agent.launcher.request import parse_job
from agent.sandbox import Destination, Reach
from agent.spec import Egress, HealthCheck, Limits, MqttGrant, Network, Publish
from tests.fakes.jobs import batch, service

HEX = "sha256:" + "a" * 64
FULL = service(
    image="registry.example/app@" + HEX,
    limits=Limits(500, 64 << 20, 32, 8192, 1 << 20, 256, 16 << 20, 1 << 20),
    env={"A": "b"},
    network=Network(
        egress=(Egress(443, cidr="198.51.100.0/24"), Egress(53, "udp", name="Dns.Example")),
        publish=(Publish(20001, 80, "tcp", "drone"),),
        peers=True,
        bits_per_second=1_000_000,
    ),
    health=HealthCheck(tcp_port=80, timeout_seconds=3),
)


def known(table):
    return lambda name: table.get(name, ())


def test_everything_of_the_spec_is_asked_for() -> None:
    now = reach(FULL.network, known({"Dns.Example": ("203.0.113.5",)}), cut=False)
    asked = job_request("s.1.1", FULL, HEX, now, {"key": b"secret"})
    assert (asked.run, asked.tenant, asked.job, asked.image, asked.env) == ("s.1.1", "acme", "s", HEX, {"A": "b"})
    assert (asked.cpu_milli, asked.memory_bytes, asked.pids, asked.log_bytes) == (500, 64 << 20, 32, 8192)
    assert (asked.open_files, asked.disk_bytes, asked.io_bytes_per_second) == (256, 16 << 20, 1 << 20)
    assert asked.network.publish[0].port == 20001 and asked.network.peers and asked.network.bits_per_second == 1_000_000
    assert asked.network.reach.destinations == (
        Destination("198.51.100.0/24", 443, "tcp"), Destination("203.0.113.5/32", 53, "udp"),
    )  # fmt: skip
    assert asked.network.reach.hosts == {"dns.example": ("203.0.113.5",)}
    assert asked.check.tcp_port == 80 and asked.check.timeout_seconds == 3
    assert asked.secrets == {"key": "c2VjcmV0"} and "c2VjcmV0" not in repr(asked)


def test_a_job_with_grants_asks_for_a_way_to_the_broker() -> None:
    granted = batch(mqtt=(MqttGrant("d", channel="t"),))
    assert job_request("b.1.1", granted, "host", Reach(), {}).mqtt
    assert not job_request("b.1.1", batch(), "host", Reach(), {}).mqtt


def test_what_is_asked_for_is_what_the_launcher_takes() -> None:
    now = reach(FULL.network, known({"Dns.Example": ("203.0.113.5",)}), cut=True)
    for spec, image in ((FULL, HEX), (batch(), "host")):
        asked = job_request(f"{spec.id}.1.1", spec, image, now, {})
        assert parse_job(json.loads(json.dumps(to_json(asked)))) == asked


def test_a_private_tmp_never_asks_for_more_than_the_memory_it_lives_in() -> None:
    spec = batch(limits=Limits(100, 8 << 20))
    assert job_request("b.1.1", spec, "host", Reach(), {}).tmp_bytes == 8 << 20


def test_names_are_asked_for_once() -> None:
    twice = Network(egress=(Egress(80, name="a"), Egress(443, name="a"), Egress(1, cidr="192.0.2.0/24")))
    assert names(batch(network=twice)) == ("a",)
    assert names(batch()) == ()


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "172.20.0.9", "127.0.0.1", "169.254.169.254", "100.64.1.1"]
)
def test_a_name_never_opens_the_stores_own_network(address) -> None:
    network = Network(egress=(Egress(80, name="evil.example"), Egress(80, cidr="0.0.0.0/0")))
    now = reach(network, known({"evil.example": (address,)}), cut=False)
    assert now.destinations == (Destination("0.0.0.0/0", 80, "tcp"),)
    assert now.hosts == {}


def test_a_name_inside_the_store_is_known_where_a_cidr_opens_it() -> None:
    network = Network(egress=(Egress(80, name="printer.lan"), Egress(9100, cidr="192.168.1.0/24")))
    now = reach(network, known({"printer.lan": ("192.168.1.9",)}), cut=False)
    assert now.destinations == (Destination("192.168.1.0/24", 9100, "tcp"),)
    assert now.hosts == {"printer.lan": ("192.168.1.9",)}


ADDRESSES = st.ip_addresses(v=4).map(str)


@given(st.lists(st.lists(ADDRESSES, max_size=16), max_size=64))
def test_however_many_addresses_names_have_the_launcher_takes_them(found) -> None:
    table = {f"n{i}": tuple(addresses) for i, addresses in enumerate(found)}
    network = Network(egress=tuple(Egress(443, name=name) for name in table))
    now = reach(network, known(table), cut=False)
    assert len(now.destinations) <= MAX_DESTINATIONS
    assert all(addresses for addresses in now.hosts.values())
