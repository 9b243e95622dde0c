"""edgectl apply FILE: what nodes shall run."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import grpc

from central.cli import client, document, show
from central.cli.document import Wanted
from central.cli.errors import CliError
from central.home import Home
from storeedge.v1.operator_pb2 import AppliedRevision, ApplyRequest, ListNodesRequest
from storeedge.v1.operator_pb2_grpc import OperatorStub


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="TOML, see docs/examples/store.toml")
    parser.add_argument("--node", action="append", default=[], metavar="S/N", help="instead of the file's own `nodes`")


def run(arguments: argparse.Namespace) -> int:
    try:
        wanted = document.read(arguments.file)
    except document.DocumentError as error:
        raise CliError(str(error)) from error
    nodes = arguments.node or wanted.nodes
    if not nodes:
        raise CliError(f'{arguments.file}: names no nodes: add nodes = ["s/n"] at its top, or --node S/N')
    with client.operator(arguments) as central:
        if wanted.secrets:
            applied = list(_apply_sealed(arguments, central, wanted, nodes))
        else:
            request = ApplyRequest(nodes=[client.node_ref(name) for name in nodes], desired=wanted.desired)
            applied = list(central.Apply(request, timeout=client.TIMEOUT_SECONDS).applied)
    if arguments.json:
        show.document({"applied": [show.plain(each) for each in applied]})
        return 0
    show.table(
        f"{len(wanted.desired.tenants)} tenants, {len(wanted.desired.jobs)} jobs, {len(wanted.desired.rules)} rules",
        ("node", "#revision", "changed"),
        ((client.ref_text(each.node), each.revision, "yes" if each.changed else "no") for each in applied),
    )
    return 0


def _apply_sealed(
    arguments: argparse.Namespace, central: OperatorStub, wanted: Wanted, nodes: list[str]
) -> Iterator[AppliedRevision]:
    """Node by node: each gets what only it can open. Before the first, every node's key is known."""
    # Only a document with secrets needs this much of cryptography.
    from central.cli import sealing  # noqa: PLC0415

    contents = sealing.gather(wanted.secrets, arguments.file.parent)
    digest_key = sealing.digest_key(Home(arguments.dir).operator_key.read_bytes())
    known = central.ListNodes(ListNodesRequest(), timeout=client.TIMEOUT_SECONDS).nodes
    keys = {client.ref_text(node.ref): node.sealing_key_der for node in known}
    for name in nodes:
        if not keys.get(name):
            raise CliError(
                f"{name}: its sealing key is not known, so that no secret can be sent to it: it has to have"
                " connected once, with an agent that has one (edgectl nodes); nothing was applied"
            )
    sealed = [(name, sealing.seal(wanted.desired, contents, name, keys[name], digest_key)) for name in nodes]
    for place, (name, desired) in enumerate(sealed):
        request = ApplyRequest(nodes=[client.node_ref(name)], desired=desired)
        try:
            yield from central.Apply(request, timeout=client.TIMEOUT_SECONDS).applied
        except grpc.RpcError as error:
            done = f"; applied before it: {', '.join(nodes[:place])}" if place else ""
            raise CliError(f"{name}: {client.explain(error, arguments.central)}{done}") from error
