"""Which device messages have been here already, by what the devices call them.

The keys of a node lie on disk in runs, one for each transaction: a table with a row for each key would write a page of
4 KiB for nearly every message, because hashes have no neighbours. They are looked up in memory, in sets that are read
from the runs when a node's first message with a key comes.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

KEYS_OF_NODE = 1_000_000  # the newest; docs/PROTOCOL.md promises them
_IN_MEMORY = 2_000_000  # of all nodes, about 110 bytes each; who was away longest is read again when it comes back
_SIZE = 16


def digest(device: str, key: str) -> bytes:
    """Of both; a device id has no zero byte."""
    return blake2b(f"{device}\0{key}".encode(), digest_size=_SIZE).digest()


@dataclass(slots=True)
class _Held:
    last: int
    hashes: set[bytes] = field(default_factory=set[bytes])


class Keys:
    """Used inside transactions, by one thread. What a rolled back transaction left in memory is noticed and dropped."""

    def __init__(self, keys_of_node: int = KEYS_OF_NODE, in_memory: int = _IN_MEMORY) -> None:
        self._keys_of_node, self._in_memory = keys_of_node, in_memory
        self._nodes: OrderedDict[int, _Held] = OrderedDict()

    def held(self, db: sqlite3.Connection, node: int) -> set[bytes]:
        """The newest keys of a node, and perhaps some older ones. Not to be changed: see `add`."""
        (last,) = db.execute("SELECT coalesce(max(last), 0) FROM key_run WHERE node_id = ?", (node,)).fetchone()
        found = self._nodes.get(node)
        if found is None or found.last != last:
            found = self._nodes[node] = _Held(last)
            for (hashes,) in db.execute("SELECT hashes FROM key_run WHERE node_id = ?", (node,)):
                found.hashes.update(_split(hashes))
        self._nodes.move_to_end(node)
        return found.hashes

    def add(self, db: sqlite3.Connection, node: int, fresh: Sequence[bytes]) -> None:
        """Keep the keys of what is being stored; `held` was asked in the same transaction."""
        held = self._nodes[node]
        held.hashes.update(fresh)
        held.last += len(fresh)
        db.execute("INSERT INTO key_run VALUES (?, ?, ?)", (node, held.last, b"".join(fresh)))
        self._forget_oldest(db, node, held)
        while len(self._nodes) > 1 and sum(len(each.hashes) for each in self._nodes.values()) > self._in_memory:
            self._nodes.popitem(last=False)

    def _forget_oldest(self, db: sqlite3.Connection, node: int, held: _Held) -> None:
        """Whole runs, a tenth of them at a time: each is looked for once."""
        if len(held.hashes) <= self._keys_of_node * 1.1:
            return
        old = (node, held.last - self._keys_of_node)
        for (hashes,) in db.execute("SELECT hashes FROM key_run WHERE node_id = ? AND last <= ?", old):
            held.hashes.difference_update(_split(hashes))
        db.execute("DELETE FROM key_run WHERE node_id = ? AND last <= ?", old)


def _split(hashes: bytes) -> Iterable[bytes]:
    return (hashes[begin : begin + _SIZE] for begin in range(0, len(hashes), _SIZE))
