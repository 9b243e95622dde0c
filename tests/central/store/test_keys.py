"""Keys of devices: the newest of each node, whatever was restarted or rolled back."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.names import NodeName
from central.store import nodes
from central.store.database import connect, migrate
from central.store.keys import Keys, digest


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "db")
    migrate(connection)
    yield connection
    connection.close()


@pytest.fixture
def node(db: sqlite3.Connection) -> int:
    return nodes.invite(db, NodeName("s", "n"))


def some(first: int, last: int) -> list[bytes]:
    return [digest("d", str(number)) for number in range(first, last + 1)]


def add(db: sqlite3.Connection, node: int, keys: Keys, fresh: list[bytes]) -> None:
    assert not keys.held(db, node).intersection(fresh)
    keys.add(db, node, fresh)


def test_device_and_key_make_a_digest_together() -> None:
    assert len({digest("d", "k"), digest("d", "l"), digest("e", "k"), digest("dk", "")}) == 4


def test_who_begins_anew_finds_what_was_kept(db: sqlite3.Connection, node: int) -> None:
    add(db, node, Keys(), some(1, 5))
    add(db, node, Keys(), some(6, 9))
    assert Keys().held(db, node) == set(some(1, 9))


def test_a_transaction_that_was_rolled_back_leaves_no_key_behind(db: sqlite3.Connection, node: int) -> None:
    keys = Keys()
    add(db, node, keys, some(1, 5))
    db.execute("BEGIN")
    add(db, node, keys, some(6, 9))
    db.execute("ROLLBACK")
    assert keys.held(db, node) == set(some(1, 5))
    add(db, node, keys, some(6, 7))


def test_the_newest_are_kept_and_older_ones_go_in_memory_and_on_disk(db: sqlite3.Connection, node: int) -> None:
    keys = Keys(keys_of_node=100)
    for first in range(1, 1000, 10):
        add(db, node, keys, some(first, first + 9))
        newest = set(some(max(1, first + 9 - 99), first + 9))
        assert newest <= keys.held(db, node) and len(keys.held(db, node)) <= 110
        assert Keys().held(db, node) == keys.held(db, node)


def test_memory_is_bounded_over_all_nodes_and_nothing_is_forgotten_by_that(db: sqlite3.Connection) -> None:
    keys = Keys(in_memory=100)
    many = [nodes.invite(db, NodeName("s", f"n{number}")) for number in range(10)]
    for node in many:
        add(db, node, keys, some(1, 40))
    assert sum(len(held.hashes) for held in keys._nodes.values()) <= 100
    assert all(keys.held(db, node) == set(some(1, 40)) for node in many)
