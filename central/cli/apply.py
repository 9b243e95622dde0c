"""edgectl apply FILE: what nodes shall run."""

import argparse
from pathlib import Path

from central.cli import client, document, show
from central.cli.errors import CliError
from storeedge.v1.operator_pb2 import ApplyRequest


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
    request = ApplyRequest(nodes=[client.node_ref(name) for name in nodes], desired=wanted.desired)
    with client.operator(arguments) as central:
        applied = central.Apply(request, timeout=client.TIMEOUT_SECONDS).applied
    if arguments.json:
        show.document({"applied": [show.plain(each) for each in applied]})
        return 0
    show.table(
        f"{len(wanted.desired.tenants)} tenants, {len(wanted.desired.jobs)} jobs, {len(wanted.desired.rules)} rules",
        ("node", "#revision", "changed"),
        ((client.ref_text(each.node), each.revision, "yes" if each.changed else "no") for each in applied),
    )
    return 0
