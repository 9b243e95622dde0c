"""Every kind of tampering with the rows of central's real database file is found, and named by sample and record."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from central.bill import ZERO_HASH, chain_hash
from central.ledger import Entry, examine
from storeedge.v1.record_pb2 import Gap, Record
from storeedge.v1.types_pb2 import RECORD_CLASS_USAGE
from tests.fakes.authority import Fleet
from tests.fakes.billing import NODE, Books, Signer, sample


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path / "central.db")
    yield made
    made.close()


def test_a_bill_that_nobody_touched_is_valid_adds_up_and_is_sealed_to_its_end(books: Books) -> None:
    bill = books.bill()
    assert [(t, u.samples, u.cpu_nano, u.sealed_index) for t, u in bill.items()] == [
        ("acme", 6, 30, 6),
        ("bolt", 3, 15, 3),
    ]
    assert all(usage.chain_valid and not usage.faults for usage in bill.values())


def test_1_a_removed_sample(books: Books) -> None:
    books.delete(4)
    assert books.faults("acme") == ["sample 3: removed, between records 3 and 7"]
    assert books.faults("bolt") == []
    assert not books.bill()["acme"].chain_valid


def test_2_a_removed_sample_whose_number_was_closed_up(books: Books) -> None:
    books.delete(4)
    books.renumber(-1, above=4)
    assert books.faults("acme") == ["sample 3: removed, between records 3 and 6"]
    assert books.faults("bolt") == []


def test_3_an_altered_sample(books: Books) -> None:
    record = books.read(4)
    record.usage.cpu_nano += 1
    books.rewrite(4, record)
    assert books.faults("acme") == [
        "sample 3 (record 4): altered, its hash is not that of its figures after sample 2",
    ]
    assert books.faults("bolt") == []


def test_4_an_altered_sample_with_every_later_hash_made_to_fit(books: Books) -> None:
    record = books.read(7)
    record.usage.cpu_nano += 1
    books.rewrite(7, record)
    books.rechain(7)
    assert books.faults("acme") == [
        "sample 6 (record 10): forged since sample 3, the seal in record 11 signs another hash",
    ]
    assert books.bill()["acme"].sealed_index == 3
    assert books.faults("bolt") == []


def test_5_a_sample_repeated_later(books: Books) -> None:
    books.renumber(1, above=8)
    books.db.execute("UPDATE record SET id = id + 1000 WHERE seq > 9")
    books.db.execute("UPDATE record SET id = id - 990 WHERE seq > 9")  # room for an id, too
    (number,) = books.db.execute("SELECT id FROM record WHERE seq = 8").fetchone()
    books.insert(9, books.read(3))
    books.db.execute("UPDATE record SET id = ? WHERE seq = 9", (number + 1,))
    assert books.faults("acme") == ["sample 2 (record 9): repeated, it is record 3 again; counted once"]
    assert books.bill()["acme"].cpu_nano == 30
    assert books.faults("bolt") == []


def test_6_a_record_that_the_node_never_sent(books: Books) -> None:
    books.insert(12, books.read(10))
    assert books.faults("acme") == [
        "sample 6 (record 12): not from the node, which has delivered records up to 11",
    ]
    assert books.faults("bolt") == []


def test_7_two_samples_in_each_others_place(books: Books) -> None:
    nine, ten = books.read(9), books.read(10)
    books.rewrite(9, ten)
    books.rewrite(10, nine)
    assert books.faults("acme") == ["sample 5 (record 10): out of order, it came after sample 6"]
    assert books.faults("bolt") == []


def test_8_an_end_cut_off_behind_the_seal(books: Books) -> None:
    books.delete(9, 10)
    books.db.execute("UPDATE record SET seq = 9 WHERE seq = 11")
    books.held(9)
    assert books.faults("acme") == [
        "sample 6: cut off, the seal in record 9 is over it, and the newest here is 4",
    ]
    assert books.faults("bolt") == []


def test_9_a_seal_by_another_key_under_the_nodes_certificate(books: Books) -> None:
    thief = Signer(books.fleet)
    record = books.read(11)
    forged = thief.seal({h.tenant: (h.chain_index, h.chain_hash) for h in record.seal.heads})
    forged.certificate_der = record.seal.certificate_der
    books.rewrite(11, Record(seal=forged))
    expected = ["seal in record 11: its signature is wrong: forged, or what it signs was altered"]
    assert books.faults("acme") == expected
    assert books.faults("bolt") == expected  # it was over both
    assert books.bill()["acme"].sealed_index == 3


def test_10_a_seal_of_another_node(books: Books) -> None:
    other = Signer(books.fleet, node=type(NODE)("s1", "n2"))
    heads = {h.tenant: (h.chain_index, h.chain_hash) for h in books.read(11).seal.heads}
    books.rewrite(11, Record(seal=other.seal(heads)))
    assert books.faults("acme") == [
        "seal in record 11: signed by another node, spiffe://shop.example/store/s1/node/n2",
    ]


def test_11_a_seal_under_another_authority(books: Books) -> None:
    other = Signer(Fleet())
    heads = {h.tenant: (h.chain_index, h.chain_hash) for h in books.read(11).seal.heads}
    books.rewrite(11, Record(seal=other.seal(heads)))
    assert books.faults("acme") == ["seal in record 11: its certificate is not from this CA"]


def test_12_a_seal_that_names_other_hashes(books: Books) -> None:
    record = books.read(11)
    record.seal.heads[0].chain_hash = bytes(32)
    books.rewrite(11, record)
    assert books.faults("acme") == [
        "seal in record 11: its signature is wrong: forged, or what it signs was altered",
    ]


def test_13_a_removed_seal(books: Books) -> None:
    books.delete(6)
    assert books.faults("acme") == ["record 6: removed"]


def test_14_the_newest_records_removed_with_their_seal(books: Books) -> None:
    books.delete(10, 11)
    assert books.faults("acme") == ["records 10..11: removed"]


def test_15_a_gap_in_the_class_that_is_never_dropped(books: Books) -> None:
    gap = Gap(record_class=RECORD_CLASS_USAGE, first_seq=4, last_seq=4, count=1, reason="spool full")
    books.rewrite(4, Record(gap=gap))
    assert books.faults("acme") == ["records 4..4: lost, spool full", "sample 3: removed, between records 3 and 7"]


def test_16_a_sample_put_on_another_tenants_bill(books: Books) -> None:
    record = books.read(4)
    record.usage.tenant = "bolt"
    books.rewrite(4, record)
    assert books.faults("acme") == ["sample 3: removed, between records 3 and 7"]
    assert books.faults("bolt") == [
        "sample 3 (record 4): altered, its hash is not that of its figures after sample 2",
        "sample 2 (record 5): out of order, it came after sample 3",
        "sample 3 (record 8): not the sample 3 of record 4: one of the two is forged",
        "sample 3 (record 4): forged since sample 2, the seal in record 11 signs another hash",
    ]


def test_17_a_row_that_is_no_record_any_more(books: Books) -> None:
    books.rewrite(4, b"\xff\xff")
    assert books.faults("acme") == [
        "record 4: altered, it is no usage record any more",
        "sample 3: removed, between records 3 and 7",
    ]


def test_18_all_of_a_tenant_removed(books: Books) -> None:
    books.delete(2, 5, 8)
    assert "sample 3: cut off, the seal in record 11 is over it, and none is here" in books.faults("bolt")


def test_19_rows_in_another_order_than_their_numbers(books: Books) -> None:
    books.db.execute("UPDATE record SET seq = -1 WHERE seq = 3")
    books.db.execute("UPDATE record SET seq = 3 WHERE seq = 4")
    books.db.execute("UPDATE record SET seq = 4 WHERE seq = -1")
    assert "sample 3 (record 3): out of order, it stands after record 4" in books.faults("acme")


def test_a_node_that_died_and_told_its_newest_samples_again_is_believed_and_counted_once(books: Books) -> None:
    books.store(12, [books.read(9), books.read(10)])
    last = books.read(10).usage
    books.store(14, [Record(usage=sample("acme", 7, last.chain_hash))])
    usage = books.bill()["acme"]
    assert (usage.chain_valid, usage.samples, usage.sealed_index) == (True, 7, 6), usage.faults


def test_a_chain_begins_again_only_with_a_new_spool(books: Books) -> None:
    books.store(1, [Record(usage=sample("acme", 1, ZERO_HASH)), Record(seal=books.signer.seal({}))], epoch="e2")
    usage = books.bill()["acme"]
    assert (usage.chain_valid, usage.samples) == (True, 7), usage.faults
    again = sample("acme", 1, ZERO_HASH, cpu_nano=9)
    books.store(3, [Record(usage=again)], epoch="e2")
    assert books.faults("acme") == ["sample 1 (record 3): not the sample 1 of record 1: one of the two is forged"]


def test_a_chain_may_go_on_in_a_new_spool(books: Books) -> None:
    books.store(1, [Record(usage=sample("acme", 7, books.read(10).usage.chain_hash))], epoch="e2")
    assert books.faults("acme") == []


def test_of_one_tenants_records_alone_the_sequence_says_nothing(books: Books) -> None:
    entries = [Entry("e1", seq, r) for seq, r in enumerate(books.records, 1) if r.usage.tenant == "acme"]
    (account,) = examine(entries, lambda _: None, None)
    assert (account.faults, account.bill.samples) == ((), 6)
    assert chain_hash(ZERO_HASH, entries[0].record.usage) == entries[0].record.usage.chain_hash
