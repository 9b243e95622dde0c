"""agent/identity/spiffe.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity import spiffe
from agent.identity.spiffe import NodeId

labels = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
domains = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?", fullmatch=True)


@given(domains, labels, labels)
def test_a_node_is_found_again_in_its_id(domain: str, store: str, node: str) -> None:
    assert spiffe.parse(str(NodeId(domain, store, node))) == NodeId(domain, store, node)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://shop.example/central",
        "spiffe://shop.example/store/s1/node/",
        "spiffe://shop.example/store/s1/node/n1/",
        "spiffe://shop.example/store/S1/node/n1",
        "spiffe://shop.example/store/../node/n1",
        "spiffe://shop.example/store/s1/node/n1\n",
        "https://shop.example/store/s1/node/n1",
        "spiffe:///store/s1/node/n1",
        f"spiffe://shop.example/store/{'s' * 64}/node/n1",
    ],
)
def test_nothing_else_is_a_node(text: str) -> None:
    with pytest.raises(ValueError, match="is not a node's SPIFFE id"):
        spiffe.parse(text)


def test_a_domain_is_not_the_beginning_of_another() -> None:
    assert spiffe.in_domain("spiffe://shop.example/central", "shop.example")
    assert not spiffe.in_domain("spiffe://shop.example.org/central", "shop.example")
