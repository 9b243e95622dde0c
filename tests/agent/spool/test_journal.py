"""The spool on disk: gapless numbers, durable appends, honest gaps."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import RecordClass
from agent.spool.journal import Journal, open_journal
from agent.spool.record import GAP_BYTES, ROW_OVERHEAD_BYTES, Draft

ROOM = 1 << 20
CLOCK = Clock("b" * 36)


def journal(path: Path, limit_bytes: int = ROOM, clock: Clock = CLOCK) -> Journal:
    return open_journal(path / "spool.db", limit_bytes=limit_bytes, epoch="e1", clock=clock)


def device(text: str, priority: int = 5) -> Draft:
    return Draft(RecordClass.DEVICE, text.encode(), priority)


def everything(j: Journal, record_class: RecordClass) -> list[tuple[int, int | None, bytes]]:
    after, found = j.tallies[record_class].acked_seq, []
    while entries := j.read(record_class, after, max_records=3, max_bytes=ROOM):
        found += [(e.seq, e.gap_first, e.payload) for e in entries]
        after = entries[-1].seq
    return found


def test_numbers_are_gapless_per_class_and_survive_reopening(tmp_path: Path) -> None:
    j = journal(tmp_path)
    j.append([device("a"), Draft(RecordClass.AUDIT, b"x"), device("b")])
    j.close()
    j = journal(tmp_path)
    j.append([device("c")])
    assert everything(j, RecordClass.DEVICE) == [(1, None, b"a"), (2, None, b"b"), (3, None, b"c")]
    assert everything(j, RecordClass.AUDIT) == [(1, None, b"x")]
    assert j.epoch == "e1"


def test_what_is_acknowledged_is_forgotten_and_numbers_go_on(tmp_path: Path) -> None:
    j = journal(tmp_path)
    j.append([device("a"), device("b")])
    j.ack(RecordClass.DEVICE, 2)
    assert j.held_bytes == 0
    j.close()
    j = journal(tmp_path)
    j.append([device("c")])
    assert everything(j, RecordClass.DEVICE) == [(3, None, b"c")]


def test_an_ack_beyond_the_end_acknowledges_only_what_exists(tmp_path: Path) -> None:
    j = journal(tmp_path)
    j.append([device("a")])
    j.ack(RecordClass.DEVICE, 99)
    j.append([device("b")])
    assert everything(j, RecordClass.DEVICE) == [(2, None, b"b")]


def test_a_full_spool_drops_the_oldest_of_low_priority_and_leaves_a_gap_in_its_place(tmp_path: Path) -> None:
    cost = 100 + ROW_OVERHEAD_BYTES
    j = journal(tmp_path, limit_bytes=4 * cost)
    j.append([device("a" * 100, 9), device("b" * 100, 1), device("c" * 100, 1), device("d" * 100, 5)])
    j.append([device("e" * 60)])
    assert [(s, g) for s, g, _ in everything(j, RecordClass.DEVICE)] == [(1, None), (3, 2), (4, None), (5, None)]
    assert j.tallies[RecordClass.DEVICE].dropped == 2
    assert j.held_bytes <= 4 * cost


def test_the_bill_is_never_dropped_and_is_refused_when_only_bills_are_left(tmp_path: Path) -> None:
    j = journal(tmp_path, limit_bytes=1000)
    bill = Draft(RecordClass.USAGE, b"u" * 400)
    j.append([bill, bill])
    with pytest.raises(StorageError, match="full"):
        j.append([bill])
    with pytest.raises(StorageError, match="full"):
        j.append([device("x" * 300)])
    assert [p for *_, p in everything(j, RecordClass.USAGE)] == [b"u" * 400] * 2


def test_the_bill_pushes_devices_out(tmp_path: Path) -> None:
    j = journal(tmp_path, limit_bytes=1000)
    j.append([device("x" * 800)])
    j.append([Draft(RecordClass.USAGE, b"u" * 400)])
    assert [p for *_, p in everything(j, RecordClass.USAGE)] == [b"u" * 400]
    assert everything(j, RecordClass.DEVICE) == [(1, 1, b"")]


def test_a_group_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path) -> None:
    j = journal(tmp_path, limit_bytes=1000)
    with pytest.raises(StorageError):
        j.append([Draft(RecordClass.AUDIT, b"a"), Draft(RecordClass.USAGE, b"u" * 2000)])
    assert j.held_bytes == 0
    j.append([Draft(RecordClass.AUDIT, b"b")])
    assert everything(j, RecordClass.AUDIT) == [(1, None, b"b")]


def test_a_batch_never_spans_a_gap(tmp_path: Path) -> None:
    j = journal(tmp_path, limit_bytes=4 * (100 + ROW_OVERHEAD_BYTES))
    j.append([device("a" * 100, 9), device("b" * 100, 1), device("c" * 100, 1), device("d" * 100, 5)])
    j.append([device("e" * 60)])
    assert [e.seq for e in j.read(RecordClass.DEVICE, 0, max_records=10, max_bytes=ROOM)] == [1]
    assert [e.seq for e in j.read(RecordClass.DEVICE, 1, max_records=10, max_bytes=ROOM)] == [3, 4, 5]


def test_a_full_disk_is_a_storage_error_and_the_spool_goes_on_when_there_is_room(tmp_path: Path) -> None:
    j = journal(tmp_path)
    j._db.execute("PRAGMA max_page_count = 30")
    j.append([device("kept")])
    with pytest.raises(StorageError, match="full"):
        j.append([device("x" * 200_000)])
    j._db.execute("PRAGMA max_page_count = 1000000")
    j.append([device("after")])
    assert [p for *_, p in everything(j, RecordClass.DEVICE)] == [b"kept", b"after"]


Action = tuple[str, int]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["append", "ack", "reopen"]), st.integers(1, 9)), max_size=30))
def test_every_number_is_a_record_or_lies_in_a_gap(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Action]
) -> None:
    path = tmp_path_factory.mktemp("j")
    j, acked, written = journal(path, 2000), 0, 0
    for action, n in actions:
        if action == "append":
            j.append([device("p" * 50 * n, n)])
            written += 1
        elif action == "ack":
            acked = max(acked, min(acked + n, written))
            j.ack(RecordClass.DEVICE, acked)
        else:
            j.close()
            j = journal(path, 2000)
        covered = [x for s, g, _ in everything(j, RecordClass.DEVICE) for x in range(s if g is None else g, s + 1)]
        # An ack inside a gap leaves the gap's tail: what is covered starts at or before the next number.
        assert [x for x in covered if x > acked] == list(range(acked + 1, written + 1))
        rows = j._db.execute("SELECT count(*), coalesce(sum(length(payload)), 0) FROM record").fetchone()
        assert j.tallies[RecordClass.DEVICE].records == rows[0]
        assert j.tallies[RecordClass.DEVICE].held_bytes == rows[1] + rows[0] * ROW_OVERHEAD_BYTES
        assert j.held_bytes <= 2000
    j.close()


def test_a_spool_of_nothing_but_gaps_is_read_in_parts_that_fit(tmp_path: Path) -> None:
    j = journal(tmp_path)
    j.append([device("") for _ in range(100)])
    j._db.execute("UPDATE record SET gap_first = id & 0xFFFFFF")
    assert len(j.read(RecordClass.DEVICE, 0, max_records=100, max_bytes=10 * GAP_BYTES)) == 10


# --- what expires --------------------------------------------------------------------------------

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


class Hands:
    """A clock that is set by hand: the wall's and the boot's apart."""

    def __init__(self) -> None:
        self.wall, self.boot = NOW, 50 * SECOND
        self.clock = self.booted("b" * 36)

    def booted(self, boot_id: str) -> Clock:
        return Clock(boot_id, lambda: self.wall, lambda: self.boot)

    def on(self, seconds: int) -> None:
        self.wall += seconds * SECOND
        self.boot += seconds * SECOND


def mortal(text: str, seconds: int) -> Draft:
    return Draft(RecordClass.DEVICE, text.encode(), 5, NOW + seconds * SECOND)


def told(j: Journal) -> list[tuple[int, int | None, str]]:
    return [(e.seq, e.gap_first, e.reason) for e in j.read(RecordClass.DEVICE, 0, max_records=10, max_bytes=ROOM)]


def test_what_expired_before_it_was_sent_is_a_gap_that_says_so(tmp_path: Path) -> None:
    hands = Hands()
    j = journal(tmp_path, clock=hands.clock)
    j.append([mortal("a", 10), mortal("b", 10), device("c"), mortal("d", 10), mortal("e", 60), mortal("f", 10)])
    assert told(j) == [(n, None, "") for n in range(1, 7)]
    hands.on(10)
    assert told(j) == [(2, 1, "expired"), (3, None, ""), (4, 4, "expired"), (5, None, ""), (6, 6, "expired")]
    j.ack(RecordClass.DEVICE, 6)
    assert (j.held_bytes, j.tallies[RecordClass.DEVICE].records) == (0, 0)


def test_a_wall_clock_that_jumps_lets_nothing_expire_nor_live_on(tmp_path: Path) -> None:
    hands = Hands()
    j = journal(tmp_path, clock=hands.clock)
    j.append([mortal("a", 10)])
    hands.wall += 10**6 * SECOND  # the box learns the time
    assert told(j) == [(1, None, "")]
    hands.wall -= 2 * 10**6 * SECOND
    hands.boot += 10 * SECOND
    assert told(j) == [(1, 1, "expired")]


def test_over_a_reboot_the_wall_clock_counts(tmp_path: Path) -> None:
    hands = Hands()
    j = journal(tmp_path, clock=hands.clock)
    j.append([mortal("a", 10), mortal("b", 100)])
    j.close()
    hands.wall, hands.boot = NOW + 20 * SECOND, 2 * SECOND
    j = journal(tmp_path, clock=hands.booted("c" * 36))
    assert told(j) == [(1, 1, "expired"), (2, None, "")]
    j.close()
    hands.wall += 100 * SECOND  # the same boot again: opened anew, nothing is forgotten
    assert told(journal(tmp_path, clock=hands.booted("c" * 36)))[0] == (2, 1, "expired")


def test_a_full_spool_drops_first_what_has_expired(tmp_path: Path) -> None:
    hands = Hands()
    cost = 100 + ROW_OVERHEAD_BYTES
    j = journal(tmp_path, 3 * cost, hands.clock)
    j.append([device("a" * 100, 0), Draft(RecordClass.DEVICE, b"b" * 100, 9, NOW + SECOND), device("c" * 100, 0)])
    hands.on(1)
    j.append([device("d" * 50)])
    assert [(s, g) for s, g, _ in everything(j, RecordClass.DEVICE)] == [(1, None), (2, 2), (3, None), (4, None)]


def test_many_are_appended_as_they_are_whatever_statement_takes_them(tmp_path: Path) -> None:
    j = journal(tmp_path)
    texts = [f"m{i}" for i in range(137)]
    j.append([device(text) for text in texts])
    assert [p.decode() for *_, p in everything(j, RecordClass.DEVICE)] == texts


def test_an_ack_and_an_append_are_one_commit(tmp_path: Path) -> None:
    j = journal(tmp_path, limit_bytes=200)
    j.append([device("a" * 100)])
    with pytest.raises(StorageError, match="full"):
        j.append([Draft(RecordClass.USAGE, b"u" * 400)], {RecordClass.DEVICE: 1})
    assert j.tallies[RecordClass.DEVICE].acked_seq == 0
    j.append([device("b" * 100)], {RecordClass.DEVICE: 1})
    assert everything(j, RecordClass.DEVICE) == [(2, None, b"b" * 100)]
