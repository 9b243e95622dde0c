"""edgectl usage [S/N]: the tenants' bill; --verify recomputes it here, from the records and not from central's word."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from central.cli import client, records, show, statement
from central.cli.errors import CliError
from central.cli.statement import HeldBy, Nodes, Statement
from central.home import Home
from central.ledger import Entry
from central.usage import answer
from storeedge.v1.desired_pb2 import Budget
from storeedge.v1.operator_pb2 import ListNodesRequest, QueryUsageRequest, TenantUsage
from storeedge.v1.operator_pb2_grpc import OperatorStub
from storeedge.v1.types_pb2 import RECORD_CLASS_USAGE


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", default="", metavar="S/N")
    parser.add_argument("--tenant", default="")
    parser.add_argument("--verify", action="store_true", help="recompute chains, totals and seals here; 1 if any fails")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the records as JSON lines, for --from")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="verify what --export wrote, offline")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the root certificate for --from (default: --dir's)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.source:
        found = _recomputed(arguments, statement.read(arguments.source), {}, [])
        return _report(arguments, found, verified=True)
    node = client.node_ref(arguments.node) if arguments.node else None
    with client.operator(arguments) as central:
        request = QueryUsageRequest(node=node, tenant=arguments.tenant)
        told = list(central.QueryUsage(request, timeout=client.TIMEOUT_SECONDS).usage)
        if not arguments.verify and not arguments.export:
            return _report(arguments, told, verified=False)
        whole, held = _fetch(arguments, central)
    if arguments.export:
        statement.write(arguments.export, _for_tenant(whole, arguments.tenant))
    if not arguments.verify:
        return 0
    return _report(arguments, _recomputed(arguments, whole, held, told), verified=True)


def _fetch(arguments: argparse.Namespace, central: OperatorStub) -> tuple[Statement, HeldBy]:
    """All usage records of the nodes asked for, and how many there have to be."""
    before = _positions(central)
    chosen = [arguments.node] if arguments.node else list(before)
    nodes: Nodes = {}
    for node in chosen:
        stored = records.everything(central, client.node_ref(node), RECORD_CLASS_USAGE)
        nodes[node] = [Entry(each.spool_epoch, each.seq, each.record) for each in stored]
    after = _positions(central)
    held = {n: {e[-1].epoch: (before.get(n, 0), after.get(n, 0))} for n, e in nodes.items() if e}
    where = Home(arguments.dir)
    chain = x509.load_pem_x509_certificates(where.operator_chain.read_bytes())[1:]
    domain = client.domain(where.operator_root.read_bytes())
    return Statement(domain, [each.public_bytes(Encoding.DER) for each in chain], complete=True, nodes=nodes), held


def _positions(central: OperatorStub) -> dict[str, int]:
    """Node -> sequence number up to which central holds its usage, of the spool it used last."""
    found = central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes
    return {
        client.ref_text(node.ref): next((p.seq for p in node.stored if p.record_class == RECORD_CLASS_USAGE), 0)
        for node in found
    }


def _for_tenant(whole: Statement, tenant: str) -> Statement:
    if not tenant:
        return whole
    nodes = {node: statement.of_tenant(entries, tenant) for node, entries in whole.nodes.items()}
    return Statement(whole.trust_domain, whole.issuing, complete=False, nodes=nodes, tenant=tenant)


def _recomputed(
    arguments: argparse.Namespace, whole: Statement, held: HeldBy, told: Sequence[TenantUsage]
) -> list[TenantUsage]:
    """The bill from the records; from central's word only what was paid in and what it costs."""
    spent = {(client.ref_text(each.node), each.tenant): each for each in told}
    found: list[TenantUsage] = []
    for node, account in whole.accounts(_root(arguments), held):
        if arguments.tenant in ("", account.tenant) and arguments.node in ("", node):
            usage = answer(client.node_ref(node), account, Budget())
            other = spent.get((node, account.tenant), TenantUsage())
            usage.credit_micro, usage.spent_micro = other.credit_micro, other.spent_micro
            found.append(usage)
    return found


def _root(arguments: argparse.Namespace) -> x509.Certificate:
    path = arguments.ca or Home(arguments.dir).operator_root
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CliError(f"{path}: no root certificate ({error}); --ca names the file") from error


def _report(arguments: argparse.Namespace, found: Sequence[TenantUsage], *, verified: bool) -> int:
    broken = verified and not all(usage.chain_valid for usage in found)
    if arguments.json:
        show.document({"usage": [show.plain(usage) for usage in found]})
        return int(broken)
    columns = ("node", "tenant", "#cpu s", "#memory MiB*s", "#disk MiB*s", "#net MiB", "#running s", "#samples")
    show.table("usage", (*columns, "#spent", "#of", "#sealed", "chain"), map(_row, found))
    for usage in found:
        for fault in usage.faults:
            sys.stdout.write(f"{client.ref_text(usage.node)} {usage.tenant}: {fault}\n")
    if verified:
        words = "some of it is not what the nodes recorded" if broken else "chains, totals and seals are as recorded"
        sys.stdout.write(f"verified {sum(usage.samples for usage in found)} samples: {words}\n")
    return int(broken)


def _row(usage: TenantUsage) -> tuple[object, ...]:
    moved = usage.network_receive_bytes + usage.network_transmit_bytes
    prepaid = bool(usage.credit_micro or usage.spent_micro)
    return (
        client.ref_text(usage.node),
        usage.tenant,
        f"{usage.cpu_nano / 1e9:.3f}",
        f"{usage.memory_byte_seconds / (1 << 20):.1f}",
        f"{usage.disk_byte_seconds / (1 << 20):.1f}",
        f"{moved / (1 << 20):.1f}",
        f"{usage.wall_nano / 1e9:.1f}",
        usage.samples,
        f"{usage.spent_micro / 1e6:.6f}" if prepaid else "-",
        f"{usage.credit_micro / 1e6:.2f}" if prepaid else "-",
        usage.sealed_index,
        show.good("valid" if usage.chain_valid else "BROKEN", well=usage.chain_valid),
    )
