"""agent/identity/token.py."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import RefusedError
from agent.identity import token
from agent.identity.spiffe import NodeId
from central import token as central_token
from central.names import NodeName

GOOD = {"i": "t1", "s": "x" * 43, "f": "0" * 64, "n": "s1/n1", "d": "shop.example"}


def text(fields: Any) -> str:
    return "set1." + base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


@given(st.binary(min_size=32, max_size=32), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_what_central_writes_is_read(secret: bytes, fingerprint: str) -> None:
    made = central_token.Token(
        "t1", central_token.new_secret(secret), fingerprint, NodeName("s1", "n1"), "shop.example"
    )
    read = token.parse(central_token.encode(made) + "\n")
    assert (read.id, read.secret, read.fingerprint) == ("t1", made.secret, fingerprint)
    assert read.node == NodeId("shop.example", "s1", "n1")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("", "does not begin with 'set1.'"),
        ("set2.abc", "does not begin with 'set1.'"),
        ("set1.!!!", "not base64url of JSON"),
        ("set1.ä", "not base64url of JSON"),
        (text(GOOD)[:-7], "not base64url of JSON; was it copied whole"),
        ("set1." + "A" * 3000, "too long"),
        (text([1]), "holds no object"),
        (text(GOOD | {"i": 7}), "a field is not text"),
        (text(GOOD | {"i": ""}), "wrong length"),
        (text(GOOD | {"s": "short"}), "wrong length"),
        (text(GOOD | {"f": "0" * 40}), "not SHA-256"),
        (text(GOOD | {"n": "s1"}), "names no store/node"),
        (text(GOOD | {"n": "s1/n1/x"}), "names no store/node"),
        (text(GOOD | {"d": "Shop Example"}), "names no store/node"),
        (text({}), "wrong length"),
    ],
)
def test_a_malformed_token_is_refused_with_the_reason(broken: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why) as caught:
        token.parse(broken)
    assert caught.value.reason == "BAD_REQUEST"


@given(st.text(max_size=80) | st.text(max_size=80).map(lambda t: f"set1.{t}"))
def test_any_text_is_a_token_or_refused_and_never_quoted(anything: str) -> None:
    with pytest.raises(RefusedError) as caught:
        token.parse(anything)
    assert len(anything) < 8 or anything not in str(caught.value)


def test_the_secret_does_not_show_when_a_token_is_printed() -> None:
    assert "x" * 43 not in repr(token.parse(text(GOOD)))
