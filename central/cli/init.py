"""edgectl init: a certificate authority, and the first operator's certificate."""

import argparse
import sys
import time
from pathlib import Path

from central import home
from central.authority import Authority, key_pem, make_issuing, make_root, moment, pem
from central.cli import show
from central.cli.errors import CliError
from central.home import Home
from central.names import BadNameError, check_domain, operator_id

_CENTRAL = "127.0.0.1:8443"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust-domain", default="store-edge.example", metavar="DOMAIN")
    parser.add_argument("--operator", default="admin", metavar="NAME", help="name in the operator's certificate")


def run(arguments: argparse.Namespace) -> int:
    where = Home(arguments.dir)
    if where.root.exists():
        raise CliError(f"{where.root} exists: this directory has its authority already")
    now = moment(time.time_ns())
    try:
        domain = check_domain(arguments.trust_domain)
        identity = operator_id(domain, arguments.operator)
    except BadNameError as error:
        raise CliError(str(error)) from error
    root = make_root(domain, now)
    issuing = make_issuing(domain, root, now)
    authority = Authority(root.certificate, issuing)
    operator = authority.issue_operator(arguments.operator, now)
    try:
        for path, data in (
            (where.root_key, key_pem(root.key)),
            (where.issuing_key, key_pem(issuing.key)),
            (where.issuing, pem(issuing.certificate)),
            (where.operator_key, key_pem(operator.key)),
            (where.operator_chain, pem(operator.certificate, issuing.certificate)),
            (where.operator_root, pem(root.certificate)),
            (where.address, (arguments.central or _CENTRAL).encode()),
            (where.root, pem(root.certificate)),  # last: it says that the rest is there
        ):
            home.write(path, data)
    except OSError as error:
        raise CliError(f"{error.filename}: {error.strerror}") from error
    _report(arguments, where.root_key, domain, identity, authority.fingerprint)
    return 0


def _report(arguments: argparse.Namespace, root_key: Path, domain: str, identity: str, fingerprint: str) -> None:
    facts = {
        "trust_domain": domain,
        "operator": identity,
        "root_sha256": fingerprint,
        "root_key": str(root_key),
        "directory": str(arguments.dir),
    }
    if arguments.json:
        show.document(facts)
        return
    show.facts("central's authority", facts)
    sys.stdout.write(
        f"Now move {root_key} off this machine, into a safe: it signs the next issuing CA and nothing else.\n"
    )
