"""agent/config/address.py."""

import pytest

from agent.config import address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("central.example:8443", "central.example", 8443),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert address.split(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "central", ":1", "central:", "central:0", "central:65536", "::1:80", "a b:1", "h:1\n", "https://h:1"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        address.split(text)
