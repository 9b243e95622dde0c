"""Ports of runs on the store's network: the kernel translates, nobody copies."""

import os
import socket
from collections.abc import Iterator

import pytest

from agent.launcher import execute, network
from agent.launcher.protocol import Destination, LauncherError, NetworkRequest, PublishedPort, Reach
from tests.netns import GATEWAY, LAN, STORE_LAN, STORE_WAN, WORLD, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
PORTS = (PublishedPort(20080, 8080, "tcp"), PublishedPort(20053, 53, "udp"))


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        one.world.run("ip", "route", "add", "192.168.50.0/24", "via", STORE_WAN)
        one.home.run("ip", "addr", "add", "127.0.0.2/8", "dev", "lo")
        yield one


@pytest.fixture
def made(shop: Store) -> Iterator[Store]:
    yield shop
    for link in tuple(shop.links):
        shop.remove(link.slot)


def test_a_published_port_is_reached_from_the_lan_and_knows_who_comes(made: Store) -> None:
    run = made.add(1, NetworkRequest(publish=PORTS))
    with run.listening(8080) as server, made.lan.open() as client:
        client.connect((STORE_LAN, 20080))
        accepted, who = server.accept()
        with accepted:
            assert who == client.getsockname()
            assert who[0] == LAN
            client.send(b"hello")
            assert accepted.recv(10) == b"hello"
    with run.open(socket.SOCK_DGRAM) as server, made.lan.open(socket.SOCK_DGRAM) as client:
        server.bind((made.address(1), 53))
        client.sendto(b"who?", (STORE_LAN, 20053))
        said, who = server.recvfrom(10)
        assert (said, who[0]) == (b"who?", LAN)
        server.sendto(b"me", who)
        assert client.recvfrom(10) == (b"me", (STORE_LAN, 20053))


def test_only_what_is_published_is_reached(made: Store) -> None:
    """The run listens on more, and LAN and world know the way to its own address."""
    run = made.add(1, NetworkRequest(publish=PORTS))
    own = made.address(1)
    with run.listening(8080), run.listening(8081):
        targets = [(STORE_LAN, port) for port in (20080, 8080, 8081, 20053)] + [(own, 8080), (own, 8081), (own, 20080)]
        with made.home.listening(22):  # a socket of the host's, so that refusals aren't taken for rules
            assert made.lan.opened(targets) == {(STORE_LAN, 20080)}
        assert made.world.opened([(own, 8080), (own, 20080), (STORE_WAN, 20080)]) == {(STORE_WAN, 20080)}
        assert made.home.opened([(own, 8080), (STORE_LAN, 20080), ("127.0.0.1", 20080)]) == set()


def test_a_service_of_the_host_keeps_its_port(made: Store) -> None:
    """A tenant that publishes the broker's port would else hear what devices tell the broker."""
    run = made.add(1, NetworkRequest(publish=PORTS))
    with run.listening(8080), made.home.listening(20080) as service, made.lan.open() as client:
        client.connect((STORE_LAN, 20080))
        service.accept()[0].close()
    with run.open(socket.SOCK_DGRAM) as job, made.home.open(socket.SOCK_DGRAM) as service:
        job.bind((made.address(1), 53))
        service.bind(("0.0.0.0", 20053))
        with made.lan.open(socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", (STORE_LAN, 20053))
            assert service.recv(10) == b"hello"


def test_a_run_comes_to_no_published_port(made: Store) -> None:
    """Neither round the corner to its own nor to a neighbour's: runs meet as peers, or not at all."""
    everything = Reach((Destination("0.0.0.0/0", 20080, "tcp"), Destination(f"{STORE_LAN}/32", 20080, "tcp")))
    run = made.add(1, NetworkRequest(everything, publish=PORTS))
    other = made.add(2, NetworkRequest(everything), tenant="rival")
    with run.listening(8080):
        for one in (run, other):
            assert one.opened([(STORE_LAN, 20080), (STORE_WAN, 20080), (made.gateway(1), 20080)]) == set()


def test_a_published_run_answers_only_and_begins_nothing(made: Store) -> None:
    run = made.add(1, NetworkRequest(publish=PORTS))
    with made.lan.listening(80), made.world.listening(80), run.listening(8080):
        assert run.opened([(LAN, 80), (WORLD, 80), (GATEWAY, 80)]) == set()


def test_a_cut_closes_published_ports_too(made: Store) -> None:
    run = made.add(1, NetworkRequest(publish=PORTS))
    with run.listening(8080) as server, made.lan.open() as client:
        client.connect((STORE_LAN, 20080))
        accepted, _ = server.accept()
        with accepted:
            made.reach(1, Reach(cut=True))
            before = _received(made)
            assert not made.lan.reaches(STORE_LAN, 20080)
            client.send(b"hello")
            accepted.settimeout(0.3)
            with pytest.raises(TimeoutError):
                accepted.recv(10)
            assert _received(made) == before  # nothing of it is billed
            made.reach(1, Reach())
            accepted.settimeout(5)
            assert accepted.recv(10) == b"hello"


def _received(shop: Store) -> str:
    text = shop.space(1).run("cat", "/proc/self/net/dev")
    return next(line.split()[1] for line in text.splitlines() if "eth0:" in line)


def test_a_port_has_one_run(made: Store) -> None:
    made.add(1, NetworkRequest(publish=PORTS))
    with pytest.raises(LauncherError, match="exist"):
        made.add(2, NetworkRequest(publish=PORTS))
    made.remove(2)
    assert f"20080 : {made.address(1)} . 8080" in made.rules()


def test_a_stranger_cannot_take_all_connections_of_a_run(made: Store) -> None:
    """The host's memory for connections is bounded for each run; its other runs go on."""
    run = made.add(1, NetworkRequest(publish=PORTS))
    other = made.add(2, NetworkRequest(publish=(PublishedPort(20081, 8080, "tcp"),)))
    with run.open(socket.SOCK_DGRAM) as server, made.lan.open(socket.SOCK_RAW, protocol=socket.IPPROTO_UDP) as client:
        server.bind((made.address(1), 53))
        for port in range(10_000, 13_000):
            client.sendto(_datagram(port, 20053), (STORE_LAN, 0))
        tracked = int(made.home.run("sysctl", "-n", "net.netfilter.nf_conntrack_count"))
        assert 1000 < tracked < 1100
        with other.listening(8080):
            assert made.lan.reaches(STORE_LAN, 20081)


def _datagram(source: int, target: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in (source, target, 9, 0)) + b"x"


def test_the_tables_name_is_of_the_launchers_cgroup(made: Store) -> None:
    table = network.names(made.host).table
    made.prepare()
    assert made.rules().count("table inet") == 1
    execute.perform(network.forget(made.host))
    assert table not in made.rules()
    assert made.home.run("sysctl", "-n", "net.ipv4.ip_forward") == "0\n"
    execute.perform(network.forget(made.host))
    made.prepare()
