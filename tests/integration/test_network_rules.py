"""What a run reaches and what reaches it: real namespaces, real rules, real packets; the kernel decides."""

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from agent.launcher import execute, network
from agent.launcher.protocol import Destination, NetworkRequest, PublishedPort, Reach
from tests.netns import GATEWAY, LAN, STORE_LAN, STORE_WAN, WORLD, WORLD_TOO, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
EVERYTHING = tuple(Destination("0.0.0.0/0", port, "tcp") for port in (80, 81))
METADATA = "169.254.169.254"


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        one.world.run("ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
        one.world.run("ip", "addr", "add", "100.64.3.4/32", "dev", "lo")
        with ExitStack() as stack:  # everybody listens, so that only a rule can be why something isn't reached
            for place in (one.home, one.lan, one.world):
                for port in (80, 81):
                    stack.enter_context(place.listening(port))
            yield one


@pytest.fixture
def made(shop: Store) -> Iterator[Store]:
    yield shop
    for link in tuple(shop.links):
        shop.remove(link.slot)


def reach(*destinations: Destination, **rest: object) -> NetworkRequest:
    return NetworkRequest(reach=Reach(destinations), **rest)  # type: ignore[arg-type]  # the test's own keywords


def test_a_run_reaches_what_it_asked_for_and_no_other_port_host_or_protocol(made: Store) -> None:
    run = made.add(1, reach(Destination(f"{WORLD}/32", 80, "tcp"), Destination(f"{WORLD_TOO}/32", 53, "udp")))
    assert run.opened([(WORLD, 80), (WORLD, 81), (WORLD_TOO, 80), (WORLD_TOO, 81), (LAN, 80)]) == {(WORLD, 80)}
    with made.world.open(socket.SOCK_DGRAM) as server, run.open(socket.SOCK_DGRAM) as client:
        server.bind((WORLD_TOO, 53))
        for address in ((WORLD, 53), (WORLD, 80), (WORLD_TOO, 54)):
            client.sendto(b"refused", address)
        question = b"question" * 500  # in fragments, of which only the first knows a port
        client.sendto(question, (WORLD, 53))
        client.sendto(question, (WORLD_TOO, 53))
        said, sender = server.recvfrom(10_000)
        assert (said, sender[0]) == (question, STORE_WAN)
        server.sendto(b"answer", sender)
        assert client.recv(100) == b"answer"
    with run.open(socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP) as client:
        client.settimeout(0.3)
        client.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (WORLD, 0))  # an echo request
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_everything_never_means_the_store(made: Store) -> None:
    """Its own addresses on each side, its LAN, metadata services, other private networks."""
    run = made.add(1, reach(*EVERYTHING))
    inside = [STORE_LAN, STORE_WAN, made.gateway(1), LAN, METADATA, "100.64.3.4", "192.168.50.255", "255.255.255.255"]
    targets = [(address, port) for address in inside for port in (80, 81)]
    assert run.opened([*targets, (WORLD, 80), (GATEWAY, 81)]) == {(WORLD, 80), (GATEWAY, 81)}
    made.home.run("nft", "delete", "table", "inet", network.names(made.host).table)
    found = run.opened(targets)  # the namespaces would have let it: it was the rules
    assert {address for address, _ in found} == {STORE_LAN, STORE_WAN, made.gateway(1), LAN, METADATA, "100.64.3.4"}
    made.prepare()
    assert run.opened(targets) == set()


def test_the_lan_is_reached_by_an_entry_inside_it(made: Store) -> None:
    run = made.add(
        1, reach(Destination(f"{LAN}/32", 80, "tcp"), Destination("192.168.50.0/24", 81, "tcp"), *EVERYTHING)
    )
    targets = [(address, port) for address in (LAN, STORE_LAN, "192.168.50.255") for port in (80, 81)]
    assert run.opened(targets) == {(LAN, 80), (LAN, 81)}


def test_no_entry_opens_the_host_or_the_forbidden_networks(made: Store) -> None:
    named = (STORE_LAN, STORE_WAN, METADATA, made.gateway(1), made.gateway(2), made.address(2))
    run = made.add(1, reach(*(Destination(f"{address}/32", 80, "tcp") for address in named)))
    other = made.add(2, reach(*EVERYTHING))
    with other.listening(80):
        assert run.opened([(address, 80) for address in named]) == set()
        assert made.home.reaches(made.address(2), 80) is False  # the host too comes by published ports only


def _packet(source: str, target: str) -> bytes:
    """An IPv4 packet with a UDP datagram to port 53."""
    udp = struct.pack("!HHHH", 53, 53, 9, 0) + b"x"
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(target) + udp


def _refused(shop: Store) -> int:
    text = shop.home.run("nft", "list", "counter", "inet", network.names(shop.host).table, "refused")
    return int(text.split("packets ")[1].split()[0])


def test_no_packet_leaves_with_anothers_address(made: Store) -> None:
    """As root of the namespace, which no job is: with a raw socket even."""
    run = made.add(1, reach(Destination("0.0.0.0/0", 53, "udp")))
    with made.world.open(socket.SOCK_DGRAM) as server, run.open(socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
        server.bind((WORLD, 53))
        before = _refused(made)
        for source in (LAN, WORLD_TOO, made.address(2), made.gateway(1), "127.0.0.1"):
            raw.sendto(_packet(source, WORLD), (WORLD, 53))
        assert _refused(made) == before + 5
        raw.sendto(_packet(made.address(1), WORLD), (WORLD, 53))
        assert server.recvfrom(100)[1][0] == STORE_WAN


def test_the_lan_cannot_pass_for_a_peer(made: Store) -> None:
    """It knows the way to runs' addresses, and may write any sender on its packets."""
    first, _ = made.add(1, reach(peers=True)), made.add(2, reach(peers=True))
    with first.open(socket.SOCK_DGRAM) as server:
        server.bind((made.address(1), 53))
        server.settimeout(0.3)
        with made.lan.open(socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
            for source in (made.address(2), made.gateway(1), LAN):
                raw.sendto(_packet(source, made.address(1)), (made.address(1), 53))
        with pytest.raises(TimeoutError):
            server.recv(100)
        with made.space(2).open(socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:  # the packet is a good one
            raw.sendto(_packet(made.address(2), made.address(1)), (made.address(1), 53))
            assert server.recv(100) == b"x"


def test_ipv6_goes_nowhere(made: Store) -> None:
    run = made.add(1, reach(*EVERYTHING))
    assert "inet6" not in run.run("ip", "addr", "show", "dev", "eth0")
    run.run("ip", "addr", "add", "fd00::2/64", "dev", "eth0", "nodad")
    made.home.run("ip", "addr", "add", "fd00::1/64", "dev", network.names(made.host).interface(1), "nodad")
    with made.home.open(family=socket.AF_INET6) as server, run.open(family=socket.AF_INET6) as client:
        server.bind(("::", 8080))
        server.listen()
        client.settimeout(0.4)
        with pytest.raises((TimeoutError, OSError)):
            client.connect(("fd00::1", 8080))


def test_neighbours_meet_only_within_a_tenant_and_when_both_ask(made: Store) -> None:
    asks = reach(peers=True)
    first, second = made.add(1, asks, job="till"), made.add(2, asks, job="stock")
    shy, stranger, strangers = made.add(3, reach()), made.add(4, asks, "rival"), made.add(5, asks, "rival")
    spaces = {1: first, 2: second, 3: shy, 4: stranger, 5: strangers}
    with ExitStack() as stack:
        for one in spaces.values():
            stack.enter_context(one.listening(7000))
        met = {
            (slot, int(address.split(".")[3]) // 4)
            for slot, one in spaces.items()
            for address, _ in one.opened([(made.address(other), 7000) for other in spaces if other != slot])
        }
    assert met == {(1, 2), (2, 1), (4, 5), (5, 4)}
    assert f"{made.address(2)} stock\n" in network.hosts_file(made.host.places, "acme-run-1").read_text()
    assert made.address(4) not in network.hosts_file(made.host.places, "acme-run-1").read_text()


def test_a_peer_that_is_gone_leaves_nothing_to_the_next_run_in_its_place(made: Store) -> None:
    asks = reach(peers=True)
    first, second = made.add(1, asks), made.add(2, asks)
    with first.open(socket.SOCK_DGRAM) as client:
        client.bind((made.address(1), 7000))
        with second.open(socket.SOCK_DGRAM) as server:
            server.bind((made.address(2), 7000))
            client.sendto(b"hello", (made.address(2), 7000))
            server.sendto(b"hello too", server.recvfrom(100)[1])
            assert client.recv(100) == b"hello too"  # the kernel knows this connection as established now
        made.remove(2)
        rival = made.add(2, reach(), tenant="rival")
        with rival.open(socket.SOCK_DGRAM) as server:
            server.bind((made.address(2), 7000))
            server.settimeout(0.3)
            client.sendto(b"still there?", (made.address(2), 7000))
            with pytest.raises(TimeoutError):
                server.recv(100)


def test_the_world_cannot_go_on_talking_to_the_next_run_in_a_place(made: Store) -> None:
    asks = reach(Destination(f"{WORLD}/32", 53, "udp"))
    run = made.add(1, asks)
    with made.world.open(socket.SOCK_DGRAM) as server:
        server.bind((WORLD, 53))
        with run.open(socket.SOCK_DGRAM) as client:
            client.bind((made.address(1), 7000))
            client.sendto(b"hello", (WORLD, 53))
            _, back = server.recvfrom(100)
            server.sendto(b"hello too", back)
            assert client.recv(100) == b"hello too"
        made.remove(1)
        rival = made.add(1, asks, tenant="rival")
        with rival.open(socket.SOCK_DGRAM) as client:
            client.bind((made.address(1), 7000))
            client.settimeout(0.3)
            server.sendto(b"are you still acme?", back)
            with pytest.raises(TimeoutError):
                client.recv(100)


def test_reach_is_replaced_and_a_cut_ends_what_is_open(made: Store) -> None:
    run = made.add(1, reach(Destination(f"{WORLD}/32", 90, "tcp")))

    with made.world.listening(90) as server, run.open() as client:
        client.connect((WORLD, 90))
        accepted, _ = server.accept()
        with accepted:
            made.reach(1, Reach((Destination(f"{WORLD_TOO}/32", 80, "tcp"),), {"shop.example": (WORLD_TOO,)}))
            assert run.opened([(WORLD, 90), (WORLD_TOO, 80)]) == {(WORLD_TOO, 80)}
            assert f"{WORLD_TOO} shop.example\n" in network.hosts_file(made.host.places, "acme-run-1").read_text()
            _talks(client, accepted)  # a name that moves on doesn't break what is under way
            made.reach(1, Reach((Destination(f"{WORLD}/32", 90, "tcp"),), cut=True))
            assert run.opened([(WORLD, 90)]) == set()
            for one, other in ((client, accepted), (accepted, client)):
                one.send(b"x")
                other.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    other.recv(10)
            made.reach(1, Reach((Destination(f"{WORLD}/32", 90, "tcp"),)))
            assert run.reaches(WORLD, 90)


def _talks(one: socket.socket, other: socket.socket) -> None:
    one.send(b"ping")
    assert other.recv(10) == b"ping"
    other.send(b"pong")
    assert one.recv(10) == b"pong"


def test_a_run_cannot_fill_the_hosts_table_of_connections(made: Store) -> None:
    run = made.add(1, reach(Destination("0.0.0.0/0", 9, "udp")))
    begin = time.monotonic()
    with run.open(socket.SOCK_DGRAM) as client:
        for number in range(4000):
            client.sendto(b"x", (f"198.51.{100 + number // 250}.{number % 250 + 1}", 9))
    tracked = int(made.home.run("sysctl", "-n", "net.netfilter.nf_conntrack_count"))
    seconds = time.monotonic() - begin
    assert 200 <= tracked < 200 + 100 * seconds + 100  # a burst, then so many a second; others of this module


def test_the_rules_of_live_runs_outlive_a_new_launcher(made: Store) -> None:
    run = made.add(1, reach(Destination(f"{WORLD}/32", 90, "tcp"), publish=(PublishedPort(20000, 8000, "tcp"),)))
    gone = made.add(2, reach(*EVERYTHING))
    with made.world.listening(90) as server, run.listening(8000), run.open() as client:
        client.connect((WORLD, 90))
        accepted, _ = server.accept()
        with accepted:
            ended = made.links.pop()  # a run that ended while no launcher was there
            made.prepare()
            _talks(client, accepted)
            assert run.opened([(WORLD, 90), (WORLD, 81)]) == {(WORLD, 90)}
            assert made.lan.reaches(STORE_LAN, 20000)
            assert gone.opened([(WORLD, 80)]) == set()
    execute.perform(network.destroy(ended, made.host))


def _state(shop: Store) -> str:
    """Rules and links, without what counts on."""
    return re.sub(r"packets \d+ bytes \d+|link-netnsid \d+", "", shop.rules() + shop.home.run("ip", "link"))


def test_nothing_is_left_of_a_run(made: Store) -> None:
    made.add(1, reach())
    made.remove(1)
    before = _state(made)  # with the guard, which the first run brings
    ports = (PublishedPort(20000, 8000, "tcp"), PublishedPort(20001, 1, "udp"))
    made.add(1, reach(*EVERYTHING, publish=ports, peers=True))
    made.add(2, reach(*EVERYTHING, peers=True))
    made.reach(1, Reach(EVERYTHING, cut=True))
    link = made.link(1)
    made.remove(1)
    execute.perform(network.destroy(link, made.host))  # once more: nothing is there, and nothing is hurt
    made.remove(2)
    assert _state(made) == before
    assert list(made.host.places.run_dir.glob("*/*run*")) == []


def test_a_machine_that_was_no_router_forwards_for_runs_alone(made: Store) -> None:
    made.add(1, reach(*EVERYTHING))
    assert made.home.run("sysctl", "-n", "net.ipv4.ip_forward") == "1\n"
    assert made.lan.opened([(WORLD, 80), (STORE_LAN, 80)]) == {(STORE_LAN, 80)}
