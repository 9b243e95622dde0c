import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.names import NodeName
from central.store import nodes, runs
from central.store.database import connect, migrate
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import DeviceMessage, Record


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "db")
    migrate(connection)
    yield connection
    connection.close()


def add(db: sqlite3.Connection, node: int, epoch: str, first: int, count: int) -> None:
    records = [Record(device=DeviceMessage(payload=b"%d" % (first + n))) for n in range(count)]
    runs.add(db, node, epoch, 7, Batch(first_seq=first, records=records).SerializeToString(), count)


def test_each_message_of_a_run_has_an_id_of_its_own_and_nodes_share_the_counter(db: sqlite3.Connection) -> None:
    one, other = (nodes.invite(db, NodeName("s", name)) for name in "ab")
    add(db, one, "e", 1, 3)
    add(db, other, "f", 1, 2)
    add(db, one, "e", 4, 2)
    assert [(k.id, k.seq) for k in runs.read(db, one)] == [(1, 1), (2, 2), (3, 3), (6, 4), (7, 5)]
    assert [(k.id, k.epoch, k.received) for k in runs.read(db, other)] == [(4, "f", 7), (5, "f", 7)]
    assert runs.newest_epoch(db, one) == (7, "e")
    assert runs.newest_epoch(db, 99) is None


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("newest", [False, True])
def test_reading_may_begin_in_the_middle_of_a_run_and_go_either_way(
    db: sqlite3.Connection, after: int, newest: bool
) -> None:
    node = nodes.invite(db, NodeName("s", "a"))
    add(db, node, "e", 1, 3)
    add(db, node, "e", 4, 2)
    found = [k.id for k in runs.read(db, node, after, newest=newest)]
    assert found == sorted(range(after + 1, 6), reverse=newest)
