import re
import sqlite3
from pathlib import Path

from google.rpc.status_pb2 import Status

from central.refusal import REASONS, answerable, reason_of, refused, relayed

PROTOCOL = Path(__file__).parents[2] / "docs/PROTOCOL.md"


def test_the_document_lists_the_same_reasons_with_the_same_codes() -> None:
    section = PROTOCOL.read_text().split("## 8.")[1].split("## 9.")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE))
    assert listed == {reason: code.name for reason, code in REASONS.items()}


def test_every_reason_is_used_somewhere() -> None:
    sources = "".join(path.read_text() for path in (PROTOCOL.parents[1] / "central").rglob("*.py"))
    assert [reason for reason in REASONS if f'"{reason}", ' not in sources] == []


def test_a_caller_is_told_a_reason_and_never_what_broke() -> None:
    assert answerable(refused("NODE_AWAY", "gone")).reason == "NODE_AWAY"
    assert answerable(sqlite3.OperationalError("disk is full, /secret/path")).reason == "STORAGE"
    broken = answerable(ValueError("secret"))
    assert broken.reason == "INTERNAL" and "secret" not in str(broken)


def test_a_reason_survives_the_wire_and_a_status_without_one_has_its_code() -> None:
    status = Status.FromString(refused("NODE_AWAY", "gone").status.SerializeToString())
    assert (status.code, status.message, reason_of(status)) == (14, "gone", "NODE_AWAY")
    assert relayed(Status(code=5)).reason == "NOT_FOUND"
    assert relayed(Status(code=99)).reason == "UNKNOWN"
