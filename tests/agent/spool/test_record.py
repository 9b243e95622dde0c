"""Keys and runs of the spool."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agent.model import RecordClass
from agent.spool.record import MAX_SEQ, row_id, runs, seq_of


@given(st.sampled_from(list(RecordClass)), st.integers(0, MAX_SEQ))
def test_a_key_holds_class_and_number_and_fits_sqlite(record_class: RecordClass, seq: int) -> None:
    assert seq_of(row_id(record_class, seq)) == seq
    assert row_id(record_class, seq) < 2**63


@given(st.sets(st.integers(1, 60)))
def test_runs_cover_exactly_the_numbers_and_never_touch(seqs: set[int]) -> None:
    found = runs(sorted(seqs))
    assert [x for run in found for x in range(run.first, run.last + 1)] == sorted(seqs)
    assert all(a.last + 1 < b.first for a, b in itertools.pairwise(found))
