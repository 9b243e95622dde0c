import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.launcher import firewall
from agent.launcher.firewall import Link, Names
from agent.launcher.layout import SLOTS
from agent.launcher.protocol import Destination, IpProtocol, NetworkRequest, PublishedPort, Reach

HERE = Names("edge_jobs", "ej-", "10.222.0.0/16")


def link(slot: int = 5, network: NetworkRequest | None = None, tenant: str = "acme") -> Link:
    return Link(f"run-{slot}", tenant, f"job-{slot}", slot, 0x1234, network or NetworkRequest())


def number(cidr: str) -> tuple[int, int]:
    address, length = cidr.split("/")
    return int.from_bytes(bytes(map(int, address.split("."))), "big"), int(length)


@st.composite
def networks(draw: st.DrawFn) -> str:
    """Few first octets and lengths, so that they often lie in one another."""
    length = draw(st.sampled_from((0, 7, 8, 9, 12, 16, 24, 31, 32)))
    first = draw(st.sampled_from((0, 10, 11, 100, 172, 192))) << 24 | draw(st.sampled_from((0, 0xA80000, 0x400001, 3)))
    first = first >> (32 - length) << (32 - length)
    return f"{'.'.join(str(byte) for byte in first.to_bytes(4, 'big'))}/{length}"


ports: st.SearchStrategy[int] = st.sampled_from((53, 80))
protocols: st.SearchStrategy[IpProtocol] = st.sampled_from(("tcp", "udp"))
destinations = st.lists(st.builds(Destination, networks(), ports, protocols), max_size=12)


def covers(elements: tuple[str, ...], address: int, port: int, protocol: str) -> int:
    """How many of them hold this: the kernel takes no two elements that overlap."""
    found = 0
    for element in elements:
        cidr, said, at = element.split(" . ")
        first, length = number(cidr)
        found += (address ^ first) >> (32 - length) == 0 and said == protocol and int(at) == port
    return found


@given(destinations, st.lists(st.integers(0, 2**32 - 1), max_size=8), ports, protocols)
def test_an_address_is_in_the_sets_as_often_as_an_entry_says(
    asked: list[Destination], addresses: list[int], port: int, protocol: IpProtocol
) -> None:
    near, far = firewall.split(asked)
    private = [number(cidr) for cidr in firewall.PRIVATE]
    addresses = addresses + [number(one.cidr)[0] for one in asked]
    for address in addresses:
        in_private = any((address ^ first) >> (32 - length) == 0 for first, length in private)
        entries = [one for one in asked if (one.port, one.protocol) == (port, protocol)]
        entries = [one for one in entries if (address ^ number(one.cidr)[0]) >> (32 - number(one.cidr)[1]) == 0]
        inside = [
            one
            for one in entries
            if any(
                number(one.cidr)[1] >= length and (number(one.cidr)[0] ^ first) >> (32 - length) == 0
                for first, length in private
            )
        ]
        assert covers(near, address, port, protocol) == bool(inside)
        if not in_private:
            assert covers(far, address, port, protocol) == bool(entries)
        assert covers(far, address, port, protocol) <= 1


def test_an_entry_inside_a_private_range_is_not_swallowed_by_a_wider_one() -> None:
    near, far = firewall.split(
        [Destination(cidr, 80, "tcp") for cidr in ("0.0.0.0/0", "192.168.1.0/24", "192.168.1.7/32", "8.8.8.8/32")]
    )
    assert near == ("192.168.1.0/24 . tcp . 80",)
    assert far == ("0.0.0.0/0 . tcp . 80",)


@given(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1))
def test_slots_share_no_address_and_no_name(one: int, other: int) -> None:
    found = {HERE.address(one), HERE.gateway(one), HERE.address(other), HERE.gateway(other)}
    assert len(found) == (2 if one == other else 4)
    assert (HERE.interface(one) == HERE.interface(other)) == (one == other)


@given(st.text(), st.text())
def test_two_launchers_share_no_table_and_no_interface(one: str, other: str) -> None:
    mine, theirs = (firewall.names(f"/x/{name.replace('/', '')}", "10.222.0.0/16") for name in (one, other))
    assert len(mine.interface(SLOTS - 1)) <= 15
    if mine.table != theirs.table:
        assert not mine.prefix.startswith(theirs.prefix)
        assert not theirs.prefix.startswith(mine.prefix)


def test_the_units_own_cgroup_has_the_plain_name() -> None:
    assert firewall.names("/system.slice/edge-jobs.service", "10.222.0.0/16") == HERE
    assert firewall.names("/edge-jobs", "10.222.0.0/16") == HERE
    assert firewall.names("/other", "10.222.0.0/16").table == "edge_jobs_5842d47d"


def test_an_address_outside_the_runs_network_is_never_given() -> None:
    small = Names("t", "t-", "10.222.0.0/28")
    assert small.address(3) == "10.222.0.14"
    with pytest.raises(ValueError, match="no room for slot 4"):
        small.address(4)
    with pytest.raises(ValueError, match="slot -1"):
        small.address(-1)


@given(destinations, st.lists(st.builds(PublishedPort, ports, ports, protocols), max_size=3), st.booleans())
def test_what_is_added_is_removed(asked: list[Destination], published: list[PublishedPort], cut: bool) -> None:
    one = link(network=NetworkRequest(Reach(tuple(asked), cut=cut), tuple(published)))
    made, taken = firewall.add(HERE, one), firewall.remove(HERE, one)
    chains = set(re.findall(r"^  chain (\w+) ", made, re.MULTILINE))
    sets = set(re.findall(r"^  set (\w+) ", made, re.MULTILINE))
    assert set(re.findall(r"delete chain inet edge_jobs (\w+)", taken)) == chains
    assert set(re.findall(r"delete set inet edge_jobs (\w+)", taken)) == sets
    shared = set(re.findall(r"^add element inet edge_jobs (\w+)", made, re.MULTILINE)) - sets
    assert shared <= set(re.findall(r"^delete element inet edge_jobs (\w+)", taken, re.MULTILINE))
    for protocol, port in {(one.protocol, one.port) for one in published}:
        assert f"{protocol} . {port}" in taken


def test_every_verdict_for_packets_of_runs_ends_in_a_drop() -> None:
    """No chain that judges them falls through to a policy that accepts."""
    script = firewall.table(HERE, [link()], guard=False)
    for name in ("from_run", "to_neighbour", "to_peer", "to_run", "from_neighbour", "outward_5"):
        body = re.search(rf"^  chain {name} {{\n(.*?)^  }}", script, re.MULTILINE | re.DOTALL)
        assert body is not None
        assert body[1].strip().splitlines()[-1].strip() == "counter name refused drop", name


def test_the_guard_is_for_machines_that_were_no_routers() -> None:
    rule = 'iifname != "ej*" oifname != "ej*" drop'
    assert rule in firewall.table(HERE, [], guard=True)
    assert rule not in firewall.table(HERE, [], guard=False)


def test_peers_are_those_of_one_tenant_that_ask() -> None:
    asks = NetworkRequest(peers=True)
    links = [link(1, asks), link(4, asks), link(2, asks, "rival"), link(3)]
    assert firewall.peers(HERE, links) == (
        "flush map inet edge_jobs groups\nflush set inet edge_jobs members\n"
        'add element inet edge_jobs groups { "ej-1" : 2, "ej-2" : 3, "ej-4" : 2 }\n'
        "add element inet edge_jobs members { 10.222.0.6 . 2, 10.222.0.10 . 3, 10.222.0.18 . 2 }\n"
    )
    assert "element" not in firewall.peers(HERE, [link(3)])


def test_reach_replaces_in_one_script() -> None:
    wanted = Reach((Destination("8.8.8.8/32", 53, "udp"), Destination("10.1.0.0/16", 80, "tcp")))
    one = '"ej-5" . 10.222.0.22 . 0x1234'
    lines = firewall.reach(HERE, link(network=NetworkRequest(wanted))).splitlines()
    assert lines == [
        "flush set inet edge_jobs near_5",
        "flush set inet edge_jobs far_5",
        f"add element inet edge_jobs open {{ {one} }}",
        'add element inet edge_jobs cut { "ej-5" }',
        f"delete element inet edge_jobs open {{ {one} }}",
        'delete element inet edge_jobs cut { "ej-5" }',
        "add element inet edge_jobs near_5 { 10.1.0.0/16 . tcp . 80 }",
        "add element inet edge_jobs far_5 { 8.8.8.8/32 . udp . 53 }",
        f"add element inet edge_jobs open {{ {one} }}",
    ]
    cut = firewall.reach(HERE, link(network=NetworkRequest(Reach(cut=True)))).splitlines()
    assert cut[-1] == 'add element inet edge_jobs cut { "ej-5" }'
    assert not cut[-2].startswith("add")
