"""A store's own network in namespaces: the store, its LAN, the world behind its uplink. For tests and benchmarks.

    lan 192.168.50.2 -- 192.168.50.1 store 203.0.113.2 -- 203.0.113.1 world, which also is 198.51.100.7 and .8

Needs root. Sockets are made in a namespace by a thread that enters it; they stay in it, whoever then uses them.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.launcher import execute, network
from agent.launcher.firewall import Link
from agent.launcher.layout import Host, Places, Tree
from agent.launcher.protocol import HostFacts, NetworkRequest, Reach

LAN, STORE_LAN, STORE_WAN, GATEWAY = "192.168.50.2", "192.168.50.1", "203.0.113.2", "203.0.113.1"
WORLD, WORLD_TOO = "198.51.100.7", "198.51.100.8"
_CLONE_NEWNET = 0x4000_0000


@dataclass(frozen=True)
class Space:
    """A network namespace, pinned at `path`."""

    path: Path

    def run(self, *argv: str, stdin: str = "") -> str:
        """Raises CalledProcessError, with what it said in the message."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", "--", *argv],
            check=False, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}"
        return done.stdout

    def open(self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
        made: list[socket.socket | BaseException] = []

        def enter() -> None:
            try:
                fd = os.open(self.path, os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(fd)
                made.append(socket.socket(family, kind, protocol))
            except BaseException as error:  # noqa: BLE001  # handed to the caller's thread
                made.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(made[0], BaseException):
            raise made[0]
        made[0].settimeout(5)
        return made[0]

    @contextmanager
    def listening(self, port: int, address: str = "0.0.0.0") -> Generator[socket.socket]:
        with self.open() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            server.listen(512)
            yield server

    def opened(self, targets: Iterable[tuple[str, int]], seconds: float = 0.4) -> set[tuple[str, int]]:
        """Those to which a TCP connection opens within `seconds`, all tried at once."""
        with ExitStack() as stack:
            tried = {target: stack.enter_context(self.open()) for target in targets}
            for target, client in tried.items():
                client.setblocking(False)
                with suppress(BlockingIOError, OSError):
                    client.connect(target)
            end = time.monotonic() + seconds
            open_now: set[tuple[str, int]] = set()
            while len(open_now) < len(tried) and time.monotonic() < end:
                time.sleep(0.01)
                for target, client in tried.items():
                    with suppress(OSError):
                        client.getpeername()
                        open_now.add(target)
            return open_now

    def reaches(self, address: str, port: int, seconds: float = 0.4) -> bool:
        return bool(self.opened([(address, port)], seconds))


@contextmanager
def space(path: Path) -> Generator[Space]:
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "--", "ip", "link", "set", "lo", "up"], check=True)
    try:
        yield Space(path)
    finally:
        subprocess.run(["umount", path], check=True)
        path.unlink()


@dataclass
class Store:
    """Runs get networks here as the launcher makes them, without the launcher."""

    directory: Path
    home: Space
    lan: Space
    world: Space
    host: Host
    links: list[Link] = field(default_factory=list[Link])
    _marks: Iterator[int] = field(default_factory=lambda: iter(range(1000, 100_000)))

    def prepare(self) -> None:
        execute.perform(network.prepare(self.links, self.host))

    def add(self, slot: int, request: NetworkRequest, tenant: str = "acme", job: str = "") -> Space:
        link = Link(f"{tenant}-run-{slot}", tenant, job or f"job-{slot}", slot, next(self._marks), request)
        self.links.append(link)
        execute.perform(network.create(link, self.host))
        execute.perform(network.peers(self.links, self.host))
        return self.space(slot)

    def link(self, slot: int) -> Link:
        return next(link for link in self.links if link.slot == slot)

    def space(self, slot: int) -> Space:
        return Space(network.netns(self.host.places, self.link(slot).run))

    def address(self, slot: int) -> str:
        return network.names(self.host).address(slot)

    def gateway(self, slot: int) -> str:
        return network.names(self.host).gateway(slot)

    def reach(self, slot: int, wanted: Reach) -> None:
        old = self.link(slot)
        link = replace(old, network=replace(old.network, reach=wanted))
        self.links[self.links.index(old)] = link
        execute.perform(network.reach(link, self.links, self.host))

    def remove(self, slot: int) -> None:
        link = self.link(slot)
        self.links.remove(link)
        execute.perform(network.destroy(link, self.host))
        execute.perform(network.peers(self.links, self.host))

    def rules(self) -> str:
        return self.home.run("nft", "list", "ruleset")


def cable(one: Space, name: str, address: str, other: Space, other_name: str, other_address: str) -> None:
    """A cable between two namespaces."""
    one.run("ip", "link", "add", name, "type", "veth", "peer", "name", other_name, "netns", str(other.path))
    for side, interface, own in ((one, name, address), (other, other_name, other_address)):
        side.run("ip", "-batch", "-", stdin=f"addr add {own} dev {interface}\nlink set {interface} up\n")


@contextmanager
def store(addresses: str = "10.222.0.0/16") -> Generator[Store]:
    directory = Path(tempfile.mkdtemp(prefix="netns-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        home, lan, world = (stack.enter_context(space(directory / name)) for name in ("home", "lan", "world"))
        cable(home, "lan0", f"{STORE_LAN}/24", lan, "eth0", f"{LAN}/24")
        cable(home, "wan0", f"{STORE_WAN}/24", world, "eth0", f"{GATEWAY}/24")
        home.run("ip", "route", "add", "default", "via", GATEWAY)
        lan.run("ip", "route", "add", "default", "via", STORE_LAN)
        world.run("ip", "-batch", "-", stdin=f"addr add {WORLD}/32 dev lo\naddr add {WORLD_TOO}/32 dev lo\n")
        # Were there no rules, the world would find the way back, as the LAN does.
        world.run("ip", "route", "add", addresses, "via", STORE_WAN)
        places = Places(directory / "state", directory / "run")
        host = Host(
            facts=HostFacts("runc", "1", "v2", memory_controller=True, cpus=1, memory_bytes=1, boot_id="boot"),
            machine="x86_64", runtime=Path("/bin/false"), conmon=Path("/bin/false"), init=Path("/bin/false"),
            tree=Tree("v2", f"/{directory.name}", ()), places=places, etc=(),
            netns=home.path, network=addresses, router=False, ipv6=True,
        )  # fmt: skip
        one = Store(directory, home, lan, world, host)
        one.prepare()
        try:
            yield one
        finally:
            for link in tuple(one.links):
                one.remove(link.slot)
