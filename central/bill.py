"""What a usage sample says, hashes to and costs, and what a seal signs. Pure; docs/PROTOCOL.md "The bill".

hash(n) = SHA-256(hash(n-1) + canonical(sample n)); hash(0) = 32 zero bytes; one chain for each tenant on a node.
"""

import hashlib
from dataclasses import dataclass

from storeedge.v1.desired_pb2 import Prices
from storeedge.v1.record_pb2 import UsageSample, UsageSeal

ZERO_HASH = bytes(32)
_GIB = 1 << 30
_HOUR_NANO = 3600 * 1_000_000_000


def canonical(sample: UsageSample) -> bytes:
    """What is hashed: the fields in this order, numbers in decimal, joined by newlines, UTF-8."""
    fields = (
        sample.tenant,
        sample.job,
        sample.generation,
        sample.attempt,
        sample.start_unix_nano,
        sample.end_unix_nano,
        sample.cpu_nano,
        sample.memory_byte_seconds,
        sample.wall_nano,
        sample.network_receive_bytes,
        sample.network_transmit_bytes,
        sample.disk_byte_seconds,
        sample.chain_index,
    )
    return "\n".join(map(str, fields)).encode()


def chain_hash(previous: bytes, sample: UsageSample) -> bytes:
    return hashlib.sha256(previous + canonical(sample)).digest()


def seal_text(seal: UsageSeal) -> bytes:
    """What the node signs: each tenant's newest link, by tenant."""
    heads = sorted(seal.heads, key=lambda head: head.tenant)
    lines = [f"{head.tenant}\n{head.chain_index}\n{head.chain_hash.hex()}\n" for head in heads]
    return ("storeedge-usage-seal-v1\n" + "".join(lines)).encode()


@dataclass(frozen=True, slots=True)
class Bill:
    """One tenant's use of one node."""

    cpu_nano: int = 0
    memory_byte_seconds: int = 0
    disk_byte_seconds: int = 0
    network_receive_bytes: int = 0
    network_transmit_bytes: int = 0
    wall_nano: int = 0
    samples: int = 0

    def plus(self, sample: UsageSample) -> "Bill":
        return Bill(
            self.cpu_nano + sample.cpu_nano,
            self.memory_byte_seconds + sample.memory_byte_seconds,
            self.disk_byte_seconds + sample.disk_byte_seconds,
            self.network_receive_bytes + sample.network_receive_bytes,
            self.network_transmit_bytes + sample.network_transmit_bytes,
            self.wall_nano + sample.wall_nano,
            self.samples + 1,
        )

    def cost_micro(self, prices: Prices) -> int:
        """Millionths of the unit of account, rounded down once, as the node does it for its budget."""
        moved = self.network_receive_bytes + self.network_transmit_bytes
        return (
            self.cpu_nano * prices.cpu_core_hour_micro * _GIB
            + self.memory_byte_seconds * prices.memory_gib_hour_micro * 1_000_000_000
            + self.disk_byte_seconds * prices.disk_gib_hour_micro * 1_000_000_000
            + moved * prices.network_gib_micro * _HOUR_NANO
        ) // (_HOUR_NANO * _GIB)
