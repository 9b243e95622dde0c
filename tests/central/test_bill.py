from hypothesis import given
from hypothesis import strategies as st

from central.bill import ZERO_HASH, add_up, canonical, chain_hash
from storeedge.v1.record_pb2 import UsageSample


def sample(index: int, cpu: int = 5) -> UsageSample:
    return UsageSample(
        tenant="citycloud",
        job="thumbnails",
        generation=1,
        attempt=1,
        start_unix_nano=10,
        end_unix_nano=20,
        cpu_nano=cpu,
        memory_byte_seconds=7,
        wall_nano=10,
        chain_index=index,
    )


def chain(
    count: int, epoch: str = "e1", previous: bytes = ZERO_HASH, first: int = 1
) -> list[tuple[str, UsageSample | None]]:
    found: list[tuple[str, UsageSample | None]] = []
    for index in range(first, first + count):
        one = sample(index, cpu=index)
        previous = one.chain_hash = chain_hash(previous, one)
        found.append((epoch, one))
    return found


def test_the_worked_example_of_the_document_holds() -> None:
    assert canonical(sample(1)) == b"citycloud\nthumbnails\n1\n1\n10\n20\n5\n7\n10\n0\n0\n0\n1"
    # (head -c 32 /dev/zero; printf 'citycloud\\nthumbnails\\n1\\n1\\n10\\n20\\n5\\n7\\n10\\n0\\n0\\n0\\n1') | sha256sum
    assert chain_hash(ZERO_HASH, sample(1)).hex() == "48bc2fd50e56cf2dbc1d35eb383becf37bd34763091be41d70aed95bf919cbf6"


@given(st.integers(1, 30))
def test_a_whole_chain_is_valid_and_adds_up(count: int) -> None:
    bill = add_up(chain(count))
    assert bill.chain_valid and bill.samples == count
    assert bill.cpu_nano == count * (count + 1) // 2 and bill.memory_byte_seconds == 7 * count


@given(st.integers(2, 20), st.data())
def test_changing_dropping_or_swapping_any_sample_breaks_the_chain(count: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, count - 2))
    changed, dropped, swapped = chain(count), chain(count), chain(count)
    one = changed[at][1]
    assert one is not None
    one.cpu_nano += 1
    del dropped[at]
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    for broken in (changed, dropped, swapped):
        assert not add_up(broken).chain_valid


@given(st.integers(1, 20), st.data())
def test_a_sample_that_came_again_counts_once(count: int, data: st.DataObject) -> None:
    samples = chain(count)
    again = data.draw(st.integers(0, count - 1))
    repeated = samples[: count - again] + samples[count - again - 1 :]
    assert add_up(repeated) == add_up(samples)


def test_a_gap_breaks_it_too() -> None:
    assert not add_up([*chain(2), ("e1", None)]).chain_valid


def test_a_new_spool_may_go_on_or_begin_anew_and_the_same_spool_may_not() -> None:
    first = chain(3)
    last = first[-1][1]
    assert last is not None
    assert add_up(first + chain(2, "e2", last.chain_hash, 4)).chain_valid
    assert add_up(first + chain(2, "e2")).chain_valid
    other = sample(1, cpu=99)
    other.chain_hash = chain_hash(ZERO_HASH, other)
    assert not add_up([*first, ("e1", other)]).chain_valid
