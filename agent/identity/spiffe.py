"""SPIFFE ids: spiffe://<trust-domain>/store/<store>/node/<node> for a node. Pure."""

import re
from dataclasses import dataclass

_NODE = re.compile(
    r"spiffe://(?P<domain>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r"/store/(?P<store>[a-z0-9][a-z0-9-]{0,62})/node/(?P<node>[a-z0-9][a-z0-9-]{0,62})"
)


@dataclass(frozen=True, slots=True)
class NodeId:
    """A node's place, in words that are safe in paths, topics and names."""

    trust_domain: str
    store: str
    node: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/store/{self.store}/node/{self.node}"


def parse(text: str) -> NodeId:
    """Raises ValueError for anything but a node's id."""
    found = _NODE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:200]!r} is not a node's SPIFFE id")
    return NodeId(found["domain"], found["store"], found["node"])


def in_domain(uri: str, trust_domain: str) -> bool:
    return uri.startswith(f"spiffe://{trust_domain}/")


def central_name(trust_domain: str) -> str:
    """DNS name in central's certificate, whatever address is dialled."""
    return f"central.{trust_domain}"
