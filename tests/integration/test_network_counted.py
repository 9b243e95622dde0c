"""A run's rate, each way, and the bytes that are billed, against what was really sent."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from agent.launcher import interface, monitor
from agent.launcher.monitor import NOBODY
from agent.launcher.protocol import Destination, NetworkRequest, Reach
from tests.netns import WORLD, Space, Store, store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
]
BITS_PER_SECOND = 8_000_000
PAYLOAD_BYTES = 2_000_000  # 2 s
REQUEST = NetworkRequest(Reach((Destination(f"{WORLD}/32", 90, "tcp"),)), bits_per_second=BITS_PER_SECOND)


@pytest.fixture(scope="module")
def shop() -> Iterator[Store]:
    with store() as one:
        yield one


@pytest.fixture
def made(shop: Store) -> Iterator[Store]:
    yield shop
    for link in tuple(shop.links):
        shop.remove(link.slot)


def _connected(run: Space, world: Space) -> tuple[socket.socket, socket.socket]:
    """(the run's end, the world's end)."""
    with world.listening(90) as server:
        client = run.open()
        client.connect((WORLD, 90))
        return client, server.accept()[0]


def _seconds(sender: socket.socket, receiver: socket.socket) -> float:
    """From the first byte received to the last of PAYLOAD_BYTES."""
    thread = threading.Thread(target=sender.sendall, args=(bytes(PAYLOAD_BYTES),))
    thread.start()
    left = PAYLOAD_BYTES - len(receiver.recv(1 << 16))
    begin = time.monotonic()
    while left:
        left -= len(receiver.recv(1 << 16))
    thread.join()
    return time.monotonic() - begin


@pytest.mark.parametrize("upwards", [True, False], ids=["sent", "received"])
def test_the_rate_is_what_was_asked_and_the_bill_what_was_sent(made: Store, upwards: bool) -> None:
    run = made.add(1, REQUEST)
    link = made.link(1)
    ours, theirs = _connected(run, made.world)
    with ours, theirs:
        before = interface.counters(link, NOBODY, made.host)
        seconds = _seconds(*((ours, theirs) if upwards else (theirs, ours)))
        after = interface.counters(link, NOBODY, made.host)
    assert PAYLOAD_BYTES * 8 / seconds == pytest.approx(BITS_PER_SECOND, rel=0.15)
    received, sent = (now - then for now, then in zip(after, before, strict=True))
    payload, acknowledgements = (sent, received) if upwards else (received, sent)
    # Ethernet, IP and TCP headers are 66 of at most 1514 bytes, more rarely of a larger packet that isn't cut yet.
    assert PAYLOAD_BYTES <= payload <= PAYLOAD_BYTES * 1.06
    assert acknowledgements <= PAYLOAD_BYTES * 0.06


def test_the_bill_is_the_same_from_both_ends_of_the_link(made: Store) -> None:
    run = made.add(1, REQUEST)
    link = made.link(1)
    ours, theirs = _connected(run, made.world)
    with ours, theirs:
        ours.sendall(bytes(10_000))
        assert len(theirs.recv(10_000, socket.MSG_WAITALL)) == 10_000
    argv = ["nsenter", f"--net={run.path}", "--", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.read(1)  # it is in the namespace, as a job's init is
            inside = interface.counters(link, monitor.process(process.pid), made.host)
            assert inside == interface.counters(link, NOBODY, made.host)
        finally:
            process.kill()
    made.remove(1)
    assert interface.counters(link, NOBODY, made.host) == (0, 0)


def test_a_run_that_says_nothing_pays_nothing(made: Store) -> None:
    """No IPv6 of its own accord, no multicast of the host's."""
    made.add(1, REQUEST)
    with made.home.open(socket.SOCK_DGRAM) as host:
        host.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(made.gateway(1)))
        for target in (("224.0.0.251", 5353), (made.address(1), 9)):
            with pytest.raises(PermissionError):  # dropped on its way out
                host.sendto(b"hello", target)
    assert interface.counters(made.link(1), NOBODY, made.host) == (0, 0)


def test_a_host_where_networks_work_says_so(made: Store) -> None:
    assert interface.unavailable("10.222.0.0/16", made.home.path) == ""
    assert "no-such" in interface.unavailable("10.222.0.0/16", made.home.path.with_name("no-such"))


def test_runs_get_no_addresses_of_the_stores_own(made: Store) -> None:
    """Overlapping by whichever is the wider; a private network behind a router may hold them."""
    made.home.run("ip", "link", "add", "lan9", "type", "veth", "peer", "name", "lan9-end")
    made.home.run("ip", "link", "set", "lan9", "up")
    try:
        for address, clashes in (("10.222.9.1/24", True), ("10.0.0.9/8", True), ("10.223.0.1/16", False)):
            made.home.run("ip", "addr", "add", address, "dev", "lan9")
            assert ("lan9" in interface.unavailable("10.222.0.0/16", made.home.path)) is clashes
            made.home.run("ip", "addr", "del", address, "dev", "lan9")
        made.home.run("ip", "addr", "add", "198.51.100.1/24", "dev", "lan9")
        made.home.run("ip", "route", "add", "10.0.0.0/8", "via", "198.51.100.2")
        assert interface.unavailable("10.222.0.0/16", made.home.path) == ""
    finally:
        made.home.run("ip", "link", "delete", "lan9")
    before = made.rules()
    assert "edge_jobs" in before
    made.add(1, REQUEST)
    marker = made.host.places.run_dir / "forwarding"
    assert marker.exists()
    assert not interface.router(made.home.path, marker)  # it forwards, but only since we came
    assert interface.router(made.home.path, marker.with_name("other"))
