"""How long a question and its answer take through a published port: kernel DNAT against the same cables without it.

All ways lead from the LAN's namespace over a veth pair into a store's, and over another pair to an echo server: ours
to a run's namespace with its rules, its rate and DNAT; the peers' through stores that only forward, where neither
nftables nor connection tracking is in use, one with the same rate (tbf, as ours), one without.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from agent.launcher.protocol import NetworkRequest, PublishedPort
from bench.table import Row, publish
from tests.netns import STORE_LAN, Space, Store, cable, space, store

ROUNDS = 100
WARM_UP = 5
TURNS, QUESTIONS = 40, 25  # of each in a round: short turns, so that a noisy moment hits all of them
QUESTION = b"x" * 64
SERVED = 7000
GIGABIT = 1_000_000_000


@contextlib.contextmanager
def answering(place: Space) -> Generator[None]:
    """An echo server, a process of its own: the two ends must not wait for one interpreter's lock."""
    with place.listening(SERVED) as server:
        server.settimeout(None)
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    echo(server.accept()[0])
            finally:
                os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def echo(one: socket.socket) -> None:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with one:
        while said := one.recv(1024):
            one.sendall(said)


@contextlib.contextmanager
def plain(one: Store, number: int, *, rate: bool) -> Generator[tuple[Space, str]]:
    """Another store on the same LAN with nothing in between but forwarding: what would be a run, and its address."""
    inner, outer = f"192.168.{60 + number}", f"192.168.{70 + number}"
    with space(one.directory / f"bare{number}") as bare, space(one.directory / f"plain{number}") as place:
        cable(bare, "lan0", f"{outer}.1/24", one.lan, f"eth{number}", f"{outer}.2/24")
        cable(bare, "run0", f"{inner}.1/30", place, "eth0", f"{inner}.2/30")
        bare.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        one.lan.run("ip", "route", "add", f"{inner}.2/32", "via", f"{outer}.1")
        place.run("ip", "route", "add", "default", "via", f"{inner}.1")
        if rate:
            for side, interface in ((bare, "run0"), (place, "eth0")):
                burst, speed = f"{GIGABIT // 800}b", f"{GIGABIT}bit"
                side.run("tc", "qdisc", "add", "dev", interface, "root", "tbf", "rate", speed, "burst", burst,
                         "latency", "50ms")  # fmt: skip
        yield place, f"{inner}.2"


def connected(one: Store, address: str) -> socket.socket:
    client = one.lan.open()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect((address, SERVED))
    return client


def ask(client: socket.socket) -> list[float]:
    """Microseconds from each question to its answer."""
    found: list[float] = []
    for _ in range(QUESTIONS):
        begin = time.perf_counter_ns()
        client.sendall(QUESTION)
        client.recv(1024)
        found.append((time.perf_counter_ns() - begin) / 1000)
    return found


def rounds(clients: Sequence[socket.socket]) -> list[list[tuple[float, float]]]:
    """For each client, of each round: (the 99th percentile, the median)."""
    found: list[list[tuple[float, float]]] = [[] for _ in clients]
    for number in range(WARM_UP + ROUNDS):
        samples: list[list[float]] = [[] for _ in clients]
        for turn in range(TURNS):
            for place in range(len(clients)):  # each comes first, second and last equally often
                at = (place + turn) % len(clients)
                samples[at] += ask(clients[at])
        if number >= WARM_UP:
            for mine, one in zip(found, samples, strict=True):
                mine.append((statistics.quantiles(one, n=100)[98], statistics.median(one)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.published", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(store())
        port = PublishedPort(SERVED, SERVED, "tcp")
        ends = [
            (one.add(1, NetworkRequest(publish=(port,), bits_per_second=GIGABIT)), STORE_LAN),
            *(stack.enter_context(plain(one, number, rate=rate)) for number, rate in ((1, True), (2, False))),
        ]
        for place, _ in ends:
            stack.enter_context(answering(place))
        clients = [stack.enter_context(connected(one, address)) for _, address in ends]
        ours, same_rate, bare = rounds(clients)
    metric = f"question to answer, {len(QUESTION)} bytes over TCP"
    rows = [
        Row(f"{metric}, {name}", "us", [one[at] for one in ours], peer, [one[at] for one in theirs], goal_ratio=goal)
        for at, name, peer, theirs, goal in (
            (0, "p99", "forwarded at the same rate, no nftables", same_rate, 1.10),
            (0, "p99", "forwarded without a rate, no nftables", bare, None),
            (1, "p50", "forwarded at the same rate, no nftables", same_rate, None),
            (1, "p50", "forwarded without a rate, no nftables", bare, None),
        )
    ]
    return 0 if publish("published", rows, args.json) else 1


if __name__ == "__main__":
    sys.exit(main())
