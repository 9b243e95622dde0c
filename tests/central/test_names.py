import pytest

from central.names import BadNameError, NodeName, OperatorName, node_id, operator_id, parse_id, parse_node

DOMAIN = "shop.example"


def test_ids_are_read_as_they_are_written() -> None:
    name = NodeName("berlin-1", "edge-1")
    assert parse_id(DOMAIN, node_id(DOMAIN, name)) == name
    assert parse_id(DOMAIN, operator_id(DOMAIN, "admin")) == OperatorName("admin")


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://other.example/store/a/node/b",
        "spiffe://shop.example.evil/store/a/node/b",
        "spiffe://shop.example/store/a/node/b/c",
        "spiffe://shop.example/store//node/b",
        "spiffe://shop.example/store/A/node/b",
        "spiffe://shop.example/store/a/node/-b",
        "spiffe://shop.example/central",
        "spiffe://shop.example/operator/",
        "spiffe://shop.example/operator/../central",
        "",
    ],
)
def test_what_is_nobodys_id_is_refused(uri: str) -> None:
    with pytest.raises(BadNameError):
        parse_id(DOMAIN, uri)


@pytest.mark.parametrize("text", ["a", "a/", "/b", "a/b/c", "A/b", "a/" + "b" * 64])
def test_a_node_is_written_store_slash_node(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_node(text)
    assert parse_node("a/b") == NodeName("a", "b")
