"""Names: nodes, operators, and the SPIFFE ids made of them. Pure."""

import re
from dataclasses import dataclass

_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

LABEL_ALLOWED = "1..63 characters of [a-z0-9-], the first a letter or digit"


class BadNameError(ValueError):
    """A name is not one; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class NodeName:
    """A node's place in the fleet; written store/node."""

    store: str
    node: str

    def __str__(self) -> str:
        return f"{self.store}/{self.node}"


@dataclass(frozen=True, slots=True)
class OperatorName:
    name: str

    def __str__(self) -> str:
        return self.name


def check_label(what: str, value: str) -> str:
    """`value`, if it is a store's, node's or operator's name. Raises BadNameError."""
    if not _LABEL.fullmatch(value):
        raise BadNameError(f"{what} {value[:80]!r}: {LABEL_ALLOWED}")
    return value


def node_name(store: str, node: str) -> NodeName:
    return NodeName(check_label("store", store), check_label("node", node))


def parse_node(text: str) -> NodeName:
    """A node from "store/node". Raises BadNameError."""
    store, slash, node = text.partition("/")
    if not slash:
        raise BadNameError(f"node {text[:80]!r}: written STORE/NODE")
    return node_name(store, node)


def check_domain(value: str) -> str:
    """`value`, if it is a trust domain. Raises BadNameError."""
    if not _DOMAIN.fullmatch(value):
        raise BadNameError(f"trust domain {value[:80]!r}: at most 253 characters of [a-z0-9.-]")
    return value


def node_id(domain: str, name: NodeName) -> str:
    return f"spiffe://{domain}/store/{name.store}/node/{name.node}"


def operator_id(domain: str, name: str) -> str:
    return f"spiffe://{domain}/operator/{check_label('operator', name)}"


def central_id(domain: str) -> str:
    return f"spiffe://{domain}/central"


def node_host(domain: str, name: NodeName) -> str:
    """The DNS name in a node's certificate, for callers of the node's own port. It resolves nowhere."""
    return f"{name.node}.{name.store}.{domain}"


def server_name(domain: str) -> str:
    """DNS name in central's certificate; clients expect it whatever address they dial."""
    return f"central.{domain}"


def parse_id(domain: str, uri: str) -> NodeName | OperatorName:
    """Whose SPIFFE id `uri` is. Raises BadNameError, also for an id of another trust domain."""
    prefix = f"spiffe://{domain}/"
    if not uri.startswith(prefix):
        raise BadNameError(f"{uri[:200]!r} is not an identity of trust domain {domain}")
    match uri.removeprefix(prefix).split("/"):
        case ["store", store, "node", node]:
            return node_name(store, node)
        case ["operator", name]:
            return OperatorName(check_label("operator", name))
        case _:
            raise BadNameError(f"{uri[:200]!r} is neither a node's nor an operator's identity")
