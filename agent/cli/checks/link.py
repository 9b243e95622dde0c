"""Whether central can be reached. That it can't is no failure of the box: it works on without."""

from agent.cli.checks.finding import Box, Finding, answers
from agent.config import address
from agent.errors import EdgeError
from agent.identity import store

NAME = "central"


def check(box: Box) -> Finding:
    try:
        where = store.look(box.config.node.state_dir).control_address
        host, port = address.split(where)
    except (EdgeError, ValueError):
        return Finding("warn", "not known before this box is enrolled", "see the line of the certificate")
    if reason := answers(host, port):
        return Finding("warn", f"{where}: {reason}", "is the store's WAN up? records wait in the spool until then")
    return Finding("ok", f"{where} answers")
