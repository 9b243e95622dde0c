import sqlite3
from collections.abc import Iterator
from operator import eq
from pathlib import Path

import pytest

from central.names import NodeName
from central.store import nodes
from central.store.database import connect, migrate

NAME = NodeName("s", "n")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "db")
    migrate(connection)
    yield connection
    connection.close()


def test_an_invited_node_is_known_but_not_enrolled(db: sqlite3.Connection) -> None:
    assert nodes.find(db, NAME) is None
    assert nodes.invite(db, NAME) == nodes.invite(db, NAME)
    row = nodes.find(db, NAME)
    assert row is not None and row.enrolled == 0 and nodes.everyone(db) == [row]


def test_enrolling_again_takes_the_old_certificates_away_and_renewing_does_not(db: sqlite3.Connection) -> None:
    node = nodes.invite(db, NAME)
    nodes.enrol(db, node, "pi", 1)
    nodes.add_certificate(db, node, "01", 10)
    nodes.add_certificate(db, node, "02", 20)
    assert nodes.holds(db, node, "01") and nodes.holds(db, node, "02") and not nodes.holds(db, node + 1, "01")
    nodes.enrol(db, node, "pi", 2)
    assert not nodes.holds(db, node, "01") and not nodes.holds(db, node, "02")


def test_equal_content_keeps_its_revision_and_a_new_one_is_above_what_the_node_has(db: sqlite3.Connection) -> None:
    node = nodes.invite(db, NAME)
    assert nodes.desired(db, node) == (0, b"")
    assert nodes.set_desired(db, node, b"a", eq) == (1, True)
    assert nodes.set_desired(db, node, b"a", eq) == (1, False)
    nodes.seen(db, node, 1, "v", 9)
    assert nodes.set_desired(db, node, b"b", eq) == (10, True)
    assert nodes.desired(db, node) == (10, b"b")


def test_an_empty_wish_is_a_wish(db: sqlite3.Connection) -> None:
    node = nodes.invite(db, NAME)
    assert nodes.set_desired(db, node, b"", eq) == (1, True)


def test_what_counts_as_the_same_is_kept_as_it_was(db: sqlite3.Connection) -> None:
    node = nodes.invite(db, NAME)
    nodes.set_desired(db, node, b"first", eq)
    assert nodes.set_desired(db, node, b"FIRST", lambda a, b: a.lower() == b.lower()) == (1, False)
    assert nodes.desired(db, node) == (1, b"first")


def test_a_new_box_in_an_old_place_has_a_sealing_key_of_its_own(db: sqlite3.Connection) -> None:
    node = nodes.invite(db, NAME)
    nodes.set_sealing_key(db, node, b"old box")
    row = nodes.find(db, NAME)
    assert row is not None and row.sealing_key == b"old box"
    nodes.enrol(db, node, "pi", 2)
    row = nodes.find(db, NAME)
    assert row is not None and row.sealing_key == b""
