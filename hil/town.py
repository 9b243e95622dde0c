"""The board's surroundings, made on the board: a till on its LAN and the world behind an uplink, in network namespaces.

    lan 192.168.50.2 -- 192.168.50.1 board 203.0.113.2 -- 203.0.113.1 world, which is 198.51.100.7 and .8, too

Addresses and ports are those that tests/sandbox/probes/network.py tries. Copied there and run as a service; ready when
it says so. The world also has what a cloud has at 169.254.169.254.
"""

import ctypes
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

CANARY_PORT = 48731
_METADATA = "169.254.169.254"
_LAYOUT = f"""
netns add lan
netns add world
link add lan0 type veth peer name eth0 netns lan
link add wan0 type veth peer name eth0 netns world
addr add 192.168.50.1/24 dev lan0
addr add 203.0.113.2/24 dev wan0
link set lan0 up
link set wan0 up
route add 198.51.100.0/24 via 203.0.113.1
route add {_METADATA} via 203.0.113.1
"""
_INSIDE = {
    "lan": """
addr add 192.168.50.2/24 dev eth0
link set lo up
link set eth0 up
route add default via 192.168.50.1
""",
    "world": f"""
addr add 203.0.113.1/24 dev eth0
addr add 198.51.100.7/32 dev lo
addr add 198.51.100.8/32 dev lo
addr add {_METADATA}/32 dev lo
link set lo up
link set eth0 up
route add 10.222.0.0/16 via 203.0.113.2
""",
}
_PORTS = {"": (CANARY_PORT,), "lan": (CANARY_PORT,), "world": (80, 90, 91)}
_CLONE_NEWNET = 0x4000_0000


def _enter(name: str) -> None:
    """This thread, for good."""
    if name:
        with Path(f"/run/netns/{name}").open() as file:
            if ctypes.CDLL(None).setns(file.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(f"setns {name}")


def _greet(server: socket.socket) -> None:
    while True:
        client, (who, _) = server.accept()
        with client:
            client.send(f"{who}\n".encode())


def _echo(server: socket.socket) -> None:
    while True:
        server.sendto(*server.recvfrom(1500))


def _serve(name: str) -> None:
    _enter(name)
    for port in _PORTS[name]:
        server = socket.create_server(("", port), backlog=64)
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
    if name == "world":
        names = socket.socket(type=socket.SOCK_DGRAM)
        names.bind(("198.51.100.7", 53))
        threading.Thread(target=_echo, args=(names,), daemon=True).start()


def main() -> None:
    subprocess.run(["ip", "-batch", "-"], input=_LAYOUT, text=True, check=True)
    for name, commands in _INSIDE.items():
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=commands, text=True, check=True)
    for name in _PORTS:
        thread = threading.Thread(target=_serve, args=(name,))
        thread.start()
        thread.join()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    signal.pause()


main()
