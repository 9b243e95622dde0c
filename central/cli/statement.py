"""A bill in a file: usage records as JSON lines, which whoever holds them can check without central.

The first line says what it is: {"statement": 1, "trust_domain", "tenant", "complete", "issuing": [base64 of DER]}. Each
other is a record: {"node": "s/n", "epoch", "seq", "record"}, the latter as protobuf's JSON with the names of the proto.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from central.cli.errors import CliError
from central.ledger import Account, Entry, examine
from central.names import node_id, parse_node
from central.seals import Trusted
from storeedge.v1.record_pb2 import Record

# Node ("s/n") -> its usage records as they came.
Nodes = dict[str, list[Entry]]
# Node -> spool epoch -> sequence numbers, as ledger.Held.
HeldBy = dict[str, dict[str, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Statement:
    """`complete`: all records of each node are here, so that one that is missing shows. `tenant`: whose alone it is."""

    trust_domain: str
    issuing: list[bytes]  # DER
    complete: bool
    nodes: Nodes
    tenant: str = ""

    def accounts(self, root: x509.Certificate, held: HeldBy) -> Iterator[tuple[str, Account]]:
        """(node, account) by tenant; seals count by this root alone, whatever else the statement says.

        Of a statement for one tenant only that one's: the seals in it name others, whose samples are not there.
        """
        trusted = Trusted(root, [x509.load_der_x509_certificate(each) for each in self.issuing])
        for node, entries in self.nodes.items():
            spiffe_id = node_id(self.trust_domain, parse_node(node))
            known = held.get(node, {}) if self.complete else None
            for account in examine(entries, trusted.of(spiffe_id), known):
                if self.tenant in ("", account.tenant):
                    yield node, account


def of_tenant(entries: Iterable[Entry], tenant: str) -> list[Entry]:
    """A tenant's own samples, and every seal: its signature is over all tenants' newest hashes."""
    kinds = ("usage", "seal")
    return [
        entry
        for entry in entries
        if entry.record.WhichOneof("body") in kinds
        and (entry.record.WhichOneof("body") == "seal" or entry.record.usage.tenant == tenant)
    ]


def write(path: Path, statement: Statement) -> None:
    """Raises CliError."""
    header = {
        "statement": 1,
        "trust_domain": statement.trust_domain,
        "tenant": statement.tenant,
        "complete": statement.complete,
        "issuing": [base64.b64encode(each).decode() for each in statement.issuing],
    }
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(header) + "\n")
            for node, entries in statement.nodes.items():
                for entry in entries:
                    file.write(json.dumps(_line(node, entry)) + "\n")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from error


def _line(node: str, entry: Entry) -> dict[str, Any]:
    record = MessageToDict(entry.record, preserving_proto_field_name=True)
    return {"node": node, "epoch": entry.epoch, "seq": entry.seq, "record": record}


def read(path: Path) -> Statement:
    """Raises CliError that names the line."""
    nodes: Nodes = {}
    try:
        with path.open(encoding="utf-8") as file:
            statement = _header(path, file.readline(), nodes)
            for number, line in enumerate(file, 2):
                node, entry = _entry(f"{path}:{number}", line)
                nodes.setdefault(node, []).append(entry)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path}: {error}") from error
    return statement


def _header(path: Path, line: str, nodes: Nodes) -> Statement:
    try:
        raw: Any = json.loads(line)
        _ = {1: None}[raw["statement"]]  # the one version there is
        issuing = [base64.b64decode(each) for each in raw["issuing"]]
        list(map(x509.load_der_x509_certificate, issuing))  # raises ValueError
        return Statement(
            str(raw["trust_domain"]), issuing, raw["complete"] is True, nodes, tenant=str(raw.get("tenant", ""))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"{path}: no statement of edgectl usage --export ({error})") from error


def _entry(where: str, line: str) -> tuple[str, Entry]:
    try:
        raw: Any = json.loads(line)
        node = str(parse_node(raw["node"]))
        return node, Entry(str(raw["epoch"]), int(raw["seq"]), ParseDict(raw["record"], Record()))
    except (ValueError, KeyError, TypeError, AttributeError, ParseError) as error:
        raise CliError(f"{where}: no record: {error}") from error
