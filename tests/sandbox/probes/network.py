"""With a network: a job that may reach one address at one port tries all the others. The test has laid the cables."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterable

from tests.sandbox.probes.verdict import CANARY_PORT, Held, Measured, main, probe, text

# tests/netns.py: the store's own addresses, a till on its LAN, and the world, of which one port is allowed.
STORE, TILL, WORLD, WORLD_TOO, METADATA = (
    ("192.168.50.1", "203.0.113.2"), "192.168.50.2", "198.51.100.7", "198.51.100.8", "169.254.169.254",
)  # fmt: skip
ALLOWED = 90


def _own() -> str:
    """The address that the job's packets bear."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((WORLD, ALLOWED))
        return str(one.getsockname()[0])


def _open(targets: Iterable[tuple[str, int]]) -> str:
    refused: list[str] = []
    for target in targets:
        try:
            with socket.create_connection(target, timeout=0.3):
                return f"connected to {target[0]}:{target[1]}"
        except TimeoutError:
            refused.append("no answer")
        except OSError as error:
            refused.append(error.strerror or str(error))
    raise Held(", ".join(dict.fromkeys(refused)))


def _ioctl(number: int, name: bytes, rest: bytes) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, number, struct.pack("16s24s", name, rest))
    return "done"


@probe("snoop", "with a network: what it was allowed (shows that the next ones mean something)")
def net_allowed() -> str:
    with socket.create_connection((WORLD, ALLOWED), timeout=2):
        raise Measured("answers")


@probe("snoop", "with a network: a neighbour's server, at all addresses around its own")
def net_neighbour() -> str:
    network, _, last = _own().rpartition(".")
    gateways_and_self = {1, int(last) - 1, int(last)}
    around = set(range(max(1, int(last) - 6), int(last) + 7)) - gateways_and_self
    return _open((f"{network}.{number}", CANARY_PORT) for number in sorted(around))


@probe("snoop", "with a network: a server on the host, by each address of the host")
def net_host() -> str:
    gateways = [f"{_own().rpartition('.')[0]}.{n}" for n in (1, int(_own().rpartition(".")[2]) - 1)]
    return _open((address, CANARY_PORT) for address in (*STORE, *gateways))


@probe("snoop", "with a network: a till on the store's LAN")
def net_lan() -> str:
    return _open([(TILL, CANARY_PORT)])


@probe("snoop", "with a network: the cloud's metadata service, which is there and would answer")
def net_metadata() -> str:
    return _open([(METADATA, 80)])


@probe("escape", "with a network: another port and another address of the world")
def net_elsewhere() -> str:
    return _open([(WORLD, 91), (WORLD_TOO, ALLOWED)])


@probe("escape", "with a network: data carried out in a DNS query")
def net_dns() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(0.5)
        one.sendto(b"secret", (WORLD, 53))
        return f"an answer of {len(one.recv(100))} bytes"


@probe("escape", "with a network: another address, route or state of the interface")
def net_interface() -> str:
    name = socket.if_nameindex()[-1][1].encode()
    address = struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton("192.168.50.77"))
    done = []
    for number, rest in ((0x8916, address), (0x8914, struct.pack("H", 0x143)), (0x8922, struct.pack("i", 9000))):
        try:
            done.append(_ioctl(number, name, rest))
        except OSError:
            continue
    if done:
        return f"{len(done)} of 3 changes"
    raise Held("EPERM")


@probe("escape", "with a network: the firewall's marks and others' addresses on its packets")
def net_marks() -> str:
    options = {"SO_MARK": (socket.SOL_SOCKET, 36), "IP_TRANSPARENT": (socket.IPPROTO_IP, 19)}
    got = []
    for name, (level, option) in options.items():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.setsockopt(level, option, 1)
            except OSError:
                continue
            got.append(name)
    if got:
        return f"{got}"
    raise Held("EPERM")


@probe("escape", "with a network: past the rules by IPv6")
def net_ipv6() -> str:
    if not os.path.exists("/proc/net/if_inet6"):
        raise Held("no IPv6")
    addresses = [line.split() for line in text("/proc/net/if_inet6").splitlines()]
    usable = [words[0] for words in addresses if words[5] != "lo"]
    if usable:
        return f"address {usable[0]}"
    raise Held("no address of IPv6")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
