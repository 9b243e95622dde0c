"""What was appended last, in memory: never anything else than what the disk would say."""

from hypothesis import given
from hypothesis import strategies as st

from agent.spool.record import Entry
from agent.spool.tail import Tail

ALL = {"max_records": 1000, "max_bytes": 1 << 20}


def test_it_holds_nothing_until_a_reader_has_caught_up() -> None:
    tail = Tail()
    tail.extend(1, [b"a"])
    assert tail.take(0, **ALL) == []
    tail.open(2)
    tail.extend(2, [b"b", b"c"])
    assert tail.take(1, **ALL) == [Entry(2, b"b"), Entry(3, b"c")]
    assert tail.take(3, **ALL) == []


def test_who_comes_back_to_an_earlier_number_is_sent_to_the_disk() -> None:
    tail = Tail()
    tail.open(1)
    tail.extend(1, [b"a", b"b"])
    assert tail.take(0, max_records=1, max_bytes=1) == [Entry(1, b"a")]
    assert tail.take(0, **ALL) == []
    assert tail.take(1, **ALL) == [Entry(2, b"b")]


def test_a_reader_that_lags_too_far_behind_is_sent_to_the_disk() -> None:
    tail = Tail()
    tail.open(1)
    for number in range(1, 100):
        tail.extend(number, [b"x" * 100_000])
    assert tail.take(0, **ALL) == []
    tail.open(100)
    tail.extend(100, [b"y"])
    assert tail.take(99, **ALL) == [Entry(100, b"y")]


@given(st.lists(st.one_of(st.integers(1, 5), st.just("read"), st.just("open"), st.just("close")), max_size=40))
def test_what_it_says_is_what_was_appended_without_a_hole(steps: list[int | str]) -> None:
    tail, next_seq, read = Tail(), 1, 0
    for step in steps:
        if isinstance(step, int):
            tail.extend(next_seq, [b"%d" % seq for seq in range(next_seq, next_seq + step)])
            next_seq += step
        elif step == "read":
            found = tail.take(read, max_records=3, max_bytes=3)
            assert found == [Entry(read + 1 + i, b"%d" % (read + 1 + i)) for i in range(len(found))]
            read += len(found)
        elif step == "open":
            read = next_seq - 1
            tail.open(next_seq)
        else:
            tail.close()
