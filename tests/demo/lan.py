"""The store's own network: a namespace with a cable to the store, from which a drone asks a job at its port."""

import hashlib
import hmac
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.netns import LAN, STORE_LAN, Space, cable, space

PORT = 8443


@dataclass(frozen=True)
class Lan:
    drone: Space

    def answers(self, key: bytes) -> bool:
        """Whether the desk behind the port holds `key`: it signs a number that it has never seen."""
        challenge = secrets.token_hex(8)
        with self.drone.open() as client:
            client.connect((STORE_LAN, PORT))
            client.sendall(f"GET /{challenge} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while piece := client.recv(4096):
                answer += piece
        return answer.partition(b"\r\n\r\n")[2] == hmac.digest(key, challenge.encode(), hashlib.sha256)

    def reaches(self, port: int) -> bool:
        return self.drone.reaches(STORE_LAN, port)


@contextmanager
def lan(store_netns: Path, path: Path) -> Generator[Lan]:
    """`path` is where the namespace is pinned."""
    with space(path) as drone:
        cable(Space(store_netns), "lan0", f"{STORE_LAN}/24", drone, "eth0", f"{LAN}/24")
        yield Lan(drone)
