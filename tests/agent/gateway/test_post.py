"""HTTP requests: what becomes a message, and what is refused with which status."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gateway.post import Answer, Post, read

AUTH = (b"authorization", b"Basic " + base64.b64encode(b"fridge-1:secret"))


def test_a_post_becomes_a_message_of_the_device() -> None:
    headers = [AUTH, (b"content-type", b"application/json"), (b"idempotency-key", b'"reading-7"')]
    found = read(b"POST", b"/devices/fridge-1/door/left%20side?x=1", headers, b"{}")
    assert found == Post(
        "fridge-1", "secret", "devices/fridge-1/door/left side", b"{}", "application/json", "reading-7"
    )


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        (b"GET", b"/devices/fridge-1/x", [AUTH], 405),
        (b"POST", b"/", [AUTH], 404),
        (b"POST", b"/devices/fridge-1/" + b"x" * 1024, [AUTH], 404),
        (b"POST", b"/devices/fridge-1/x", [], 401),
        (b"POST", b"/devices/fridge-1/x", [(b"authorization", b"Bearer x")], 401),
        (b"POST", b"/devices/fridge-1/x", [(b"authorization", b"Basic ???")], 401),
        (b"POST", b"/devices/fridge-2/x", [AUTH], 403),
        (b"POST", b"/devices/fridge-1/cmd/open", [AUTH], 403),
        (b"POST", b"/devices/fridge-1", [AUTH], 400),
        (b"POST", b"/devices/fridge-1//x", [AUTH], 400),
        (b"POST", b"/devices/fridge-1/%23", [AUTH], 400),
        (b"POST", b"/devices/fridge-1/%00", [AUTH], 400),
        (b"POST", b"/devices/fridge-1/%ff", [AUTH], 400),
        (b"POST", b"/devices/fridge-1/x", [AUTH, (b"idempotency-key", b"k" * 129)], 400),
        (b"POST", b"/devices/fridge-1/x", [AUTH, (b"content-type", b"a\x01")], 400),
    ],
)
def test_what_can_t_be_is_refused(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    found = read(method, target, headers, b"")
    assert isinstance(found, Answer)
    assert found.status == status


def test_a_device_may_answer_a_command() -> None:
    assert isinstance(read(b"POST", b"/devices/fridge-1/cmd/open/ack", [AUTH], b"ok"), Post)


def test_a_password_is_in_no_message_for_people() -> None:
    assert "secret" not in repr(read(b"POST", b"/devices/fridge-1/x", [AUTH], b""))


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=32))
def test_whatever_is_asked_there_is_an_answer_and_a_message_is_only_ever_below_its_own_device(
    target: bytes, authorization: bytes, key: bytes
) -> None:
    headers = [(b"authorization", b"Basic " + base64.b64encode(authorization)), (b"idempotency-key", key)]
    found = read(b"POST", b"/devices/" + target, headers, b"")
    assert isinstance(found, Answer) or found.topic.startswith(f"devices/{found.device}/")
