"""A bill in a file, checked by who has nothing but the file and the root certificate."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from central.cli import statement
from central.cli.errors import CliError
from central.cli.statement import Statement
from central.ledger import Entry
from tests.fakes.authority import DOMAIN, Fleet
from tests.fakes.billing import Books


def whole(books: Books, *, complete: bool = True) -> Statement:
    entries = [Entry("e1", seq, record) for seq, record in enumerate(books.records, 1)]
    issuing = books.fleet.authority.issuing.certificate.public_bytes(Encoding.DER)
    return Statement(DOMAIN, [issuing], complete, {"s1/n1": entries})


def test_what_was_exported_verifies_without_central(tmp_path: Path) -> None:
    books, file = Books(tmp_path / "db"), tmp_path / "bill.jsonl"
    statement.write(file, whole(books))
    read = statement.read(file)
    assert read == whole(books)
    accounts = list(read.accounts(books.fleet.authority.root, {}))
    assert [(node, a.tenant, a.bill.samples, a.sealed_index, a.faults) for node, a in accounts] == [
        ("s1/n1", "acme", 6, 6, ()),
        ("s1/n1", "bolt", 3, 3, ()),
    ]


def test_a_figure_changed_in_the_file_is_found(tmp_path: Path) -> None:
    books, file = Books(tmp_path / "db"), tmp_path / "bill.jsonl"
    statement.write(file, whole(books))
    file.write_text(file.read_text().replace('"cpu_nano": "5"', '"cpu_nano": "4"', 1))
    accounts = {a.tenant: a for _, a in statement.read(file).accounts(books.fleet.authority.root, {})}
    assert accounts["acme"].faults[0].startswith("sample 1 (record 1): altered")


def test_another_root_believes_no_seal(tmp_path: Path) -> None:
    books = Books(tmp_path / "db")
    (_, acme), _ = whole(books).accounts(Fleet().authority.root, {})
    assert acme.faults[0] == "seal in record 6: its certificate is not from this CA"


def test_a_tenant_gets_its_own_samples_and_every_seal(tmp_path: Path) -> None:
    books = Books(tmp_path / "db")
    mine = statement.of_tenant(whole(books).nodes["s1/n1"], "bolt")
    assert [entry.seq for entry in mine] == [2, 5, 6, 8, 11]
    part = Statement(DOMAIN, whole(books).issuing, complete=False, nodes={"s1/n1": mine})
    accounts = {a.tenant: a for _, a in part.accounts(books.fleet.authority.root, {})}
    assert (accounts["bolt"].faults, accounts["bolt"].sealed_index) == ((), 3)


def test_a_tenant_s_statement_blames_nobody_for_others_samples(tmp_path: Path) -> None:
    books, file = Books(tmp_path / "db"), tmp_path / "bill.jsonl"
    mine = statement.of_tenant(whole(books).nodes["s1/n1"], "bolt")
    issuing = whole(books).issuing
    statement.write(file, Statement(DOMAIN, issuing, complete=False, nodes={"s1/n1": mine}, tenant="bolt"))
    accounts = [a for _, a in statement.read(file).accounts(books.fleet.authority.root, {})]
    assert [(a.tenant, a.bill.samples, a.faults) for a in accounts] == [("bolt", 3, ())]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no statement"),
        ("{}\n", "no statement"),
        ('{"statement": 2}\n', "no statement"),
        ("[]\n", "no statement"),
        ('{"statement": 1, "trust_domain": "d", "complete": true, "issuing": ["AAAA"]}\n', "no statement"),
    ],
)
def test_what_is_no_statement_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bill.jsonl"
    file.write_text(text)
    with pytest.raises(CliError, match=said):
        statement.read(file)


def test_a_broken_line_is_told_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "bill.jsonl"
    statement.write(file, Statement(DOMAIN, [], complete=True, nodes={}))
    file.write_text(file.read_text() + '{"node": "s/n", "epoch": "e", "seq": 1, "record": {"usge": {}}}\n')
    with pytest.raises(CliError, match=r"bill\.jsonl:2: no record: "):
        statement.read(file)
