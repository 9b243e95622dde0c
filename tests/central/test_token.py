import base64
import json

from central.names import NodeName
from central.token import Token, encode, new_secret, secret_hash


def test_a_token_is_a_prefix_and_the_base64url_of_five_fields() -> None:
    token = Token("id1", new_secret(bytes(range(32))), "ab" * 32, NodeName("s", "n"), "shop.example")
    text = encode(token)
    assert text.startswith("set1.") and "=" not in text
    raw = text.removeprefix("set1.")
    assert json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))) == {
        "i": "id1",
        "s": token.secret,
        "f": "ab" * 32,
        "n": "s/n",
        "d": "shop.example",
    }


def test_a_secret_is_43_characters_and_kept_as_a_hash() -> None:
    secret = new_secret(b"\xff" * 32)
    assert len(secret) == 43 and secret.encode() not in secret_hash(secret)
