import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.names import NodeName
from central.refusal import RefusedError
from central.store import nodes, records
from central.store.database import connect, migrate
from central.store.keys import Keys
from storeedge.v1.control_pb2 import Batch
from storeedge.v1.record_pb2 import AuditEntry, DeviceMessage, Gap, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_AUDIT, RECORD_CLASS_DEVICE


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(tmp_path / "db")
    migrate(connection)
    yield connection
    connection.close()


@pytest.fixture
def node(db: sqlite3.Connection) -> int:
    return nodes.invite(db, NodeName("s", "n"))


def message(text: str, *, packet: int = 0, redelivered: bool = False, key: str = "", device: str = "d") -> Record:
    body = DeviceMessage(
        device=device,
        topic=f"devices/{device}/t",
        payload=text.encode(),
        packet_id=packet,
        redelivered=redelivered,
        idempotency_key=key,
    )
    return Record(device=body)


def store(db: sqlite3.Connection, node: int, epoch: str, batch: Batch, now: int, keys: Keys | None = None) -> int:
    return records.store(db, node, epoch, batch, now, keys or Keys())


def batch(first: int, *found: Record) -> Batch:
    return Batch(record_class=RECORD_CLASS_DEVICE, first_seq=first, records=found)


def payloads(db: sqlite3.Connection, node: int) -> list[bytes]:
    return [record.device.payload for _, record in records.bodies(db, node, RECORD_CLASS_DEVICE)]


def test_what_comes_twice_is_kept_once_and_the_first_counts(db: sqlite3.Connection, node: int) -> None:
    assert store(db, node, "e", batch(1, message("a"), message("b")), 1) == 2
    assert store(db, node, "e", batch(2, message("B"), message("c")), 2) == 3
    assert payloads(db, node) == [b"a", b"b", b"c"]


def test_another_epoch_counts_from_one_again(db: sqlite3.Connection, node: int) -> None:
    store(db, node, "e", batch(1, message("a")), 1)
    assert store(db, node, "f", batch(1, message("b")), 1) == 1
    assert payloads(db, node) == [b"a", b"b"]
    assert records.newest_positions(db, node) == {RECORD_CLASS_DEVICE: 1}


def test_a_hole_is_refused_and_a_gap_fills_it(db: sqlite3.Connection, node: int) -> None:
    store(db, node, "e", batch(1, message("a")), 1)
    with pytest.raises(RefusedError) as caught:
        store(db, node, "e", batch(5, message("e")), 1)
    assert caught.value.reason == "SEQUENCE_HOLE"
    gap = Record(gap=Gap(record_class=RECORD_CLASS_DEVICE, first_seq=2, last_seq=4, count=3))
    assert store(db, node, "e", batch(4, gap, message("e")), 1) == 5


def test_a_gap_over_what_is_held_takes_nothing_away(db: sqlite3.Connection, node: int) -> None:
    store(db, node, "e", batch(1, message("a"), message("b"), message("c")), 1)
    gap = Record(gap=Gap(record_class=RECORD_CLASS_DEVICE, first_seq=2, last_seq=5, count=4))
    assert store(db, node, "e", batch(5, gap), 1) == 5
    assert payloads(db, node)[:3] == [b"a", b"b", b"c"]


def test_a_message_the_broker_delivered_again_is_kept_once(db: sqlite3.Connection, node: int) -> None:
    store(db, node, "e", batch(1, message("a", packet=7)), 1)
    again, other = message("a", packet=7, redelivered=True), message("a", packet=8, redelivered=True)
    assert store(db, node, "e", batch(2, again, other, message("a", packet=7)), 2) == 4
    assert len(payloads(db, node)) == 3


def test_a_message_that_comes_under_its_own_key_again_is_kept_once_and_the_position_moves_on(
    db: sqlite3.Connection, node: int
) -> None:
    keys = Keys()
    assert store(db, node, "e", batch(1, message("a", key="k1"), message("b", key="k1"), message("c")), 1, keys) == 3
    assert store(db, node, "f", batch(1, message("d", key="k1"), message("e", key="k2")), 1, keys) == 2
    assert payloads(db, node) == [b"a", b"c", b"e"]


def test_the_same_key_of_another_device_or_node_is_another_message(db: sqlite3.Connection, node: int) -> None:
    other, keys = nodes.invite(db, NodeName("s", "m")), Keys()
    store(db, node, "e", batch(1, message("a", key="k"), message("b", key="k", device="other")), 1, keys)
    store(db, other, "e", batch(1, message("c", key="k")), 1, keys)
    assert payloads(db, node) == [b"a", b"b"] and payloads(db, other) == [b"c"]


def test_what_central_stored_under_its_number_once_is_not_looked_at_again(db: sqlite3.Connection, node: int) -> None:
    keys = Keys()
    first = batch(1, message("a", key="k1"), message("b", key="k2"))
    assert store(db, node, "e", first, 1, keys) == store(db, node, "e", first, 2, keys) == 2
    assert payloads(db, node) == [b"a", b"b"]


def test_many_records_are_stored_as_they_came_whatever_statement_takes_them(db: sqlite3.Connection, node: int) -> None:
    texts = [f"m{i}" for i in range(137)]
    assert store(db, node, "e", batch(1, *map(message, texts)), 1) == 137
    found = records.read(db, node, RECORD_CLASS_DEVICE)
    assert [(s.seq, Record.FromString(s.body).device.payload.decode()) for s in found] == list(enumerate(texts, 1))


def test_what_was_here_already_is_cut_out_of_its_batch_and_numbers_stay(db: sqlite3.Connection, node: int) -> None:
    keys = Keys()
    store(db, node, "e", batch(1, message("a", key="k")), 1, keys)
    again = batch(1, message("a"), message("b"), message("a", key="k"), message("c"), message("d"))
    assert store(db, node, "e", again, 2, keys) == 5
    found = [(s.id, s.seq, s.received) for s in records.read(db, node, RECORD_CLASS_DEVICE)]
    assert found == [(1, 1, 1), (2, 2, 2), (3, 4, 2), (4, 5, 2)]


def test_messages_of_the_release_before_and_runs_stand_in_the_order_in_which_they_came(
    db: sqlite3.Connection, node: int
) -> None:
    """An upgrade, the way back, and the upgrade again: the release before adds rows to `record`."""

    def by_the_release_before(seq: int, text: str) -> None:
        row = (node, RECORD_CLASS_DEVICE, "e", 1, seq, message(text).SerializeToString())
        db.execute("INSERT INTO record (node_id, class, epoch, received, seq, body) VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)", (node, "e", RECORD_CLASS_DEVICE, seq))

    by_the_release_before(1, "a")
    store(db, node, "e", batch(2, message("b"), message("c")), 1)
    by_the_release_before(4, "d")
    store(db, node, "e", batch(5, message("e"), message("f")), 1)
    found = records.read(db, node, RECORD_CLASS_DEVICE)
    assert [(s.id, s.seq) for s in found] == [(n, n) for n in range(1, 7)]
    assert payloads(db, node) == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [s.seq for s in records.read(db, node, RECORD_CLASS_DEVICE, newest=True, limit=4)] == [3, 4, 5, 6]
    assert [s.seq for s in records.read(db, node, RECORD_CLASS_DEVICE, after_id=2, limit=3)] == [3, 4, 5]


def test_a_run_that_is_damaged_on_disk_is_shown_as_one_record_and_the_rest_is_read(
    db: sqlite3.Connection, node: int
) -> None:
    store(db, node, "e", batch(1, message("a"), message("b")), 1)
    store(db, node, "e", batch(3, message("c")), 1)
    db.execute("UPDATE device_run SET body = x'ff' WHERE last_id = 2")
    assert [(s.id, s.seq) for s in records.read(db, node, RECORD_CLASS_DEVICE)] == [(2, 0), (3, 3)]


def test_pages_are_bounded_by_count_and_bytes_and_always_go_on(db: sqlite3.Connection, node: int) -> None:
    store(db, node, "e", batch(1, *(message("x" * 100) for _ in range(10))), 1)

    def seqs(**how: int | bool) -> list[int]:
        return [s.seq for s in records.read(db, node, RECORD_CLASS_DEVICE, **how)]  # type: ignore[arg-type] # by name

    assert seqs(limit=3) == [1, 2, 3]
    assert seqs(limit=3, newest=True) == [8, 9, 10]
    assert seqs(max_bytes=1) == [1]
    assert seqs(max_bytes=300) == [1, 2]


def test_centrals_own_trail_is_apart_from_the_nodes(db: sqlite3.Connection, node: int) -> None:
    records.add_audit(db, AuditEntry(actor="a"), 5)
    records.add_audit(db, AuditEntry(actor="b"), 6)
    assert records.read(db, node, RECORD_CLASS_AUDIT) == []
    found = records.read(db, None, RECORD_CLASS_AUDIT)
    assert [Record.FromString(s.body).audit.actor for s in found] == ["a", "b"] and found[0].node is None
