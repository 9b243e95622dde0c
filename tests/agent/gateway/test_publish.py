"""What the broker says of a message, as an HTTP status."""

import threading

import pytest

from agent.gateway.post import Post
from agent.gateway.publish import Broker, _answer, deliver

POST = Post("fridge-1", "secret", "devices/fridge-1/x", b"1", "", "")


@pytest.mark.parametrize(
    ("connected", "acknowledged", "status"),
    [
        (0, 0, 204),
        (0x86, None, 401),  # bad user name or password
        (0x87, None, 401),
        (0, 0x87, 403),
        (0, 0x97, 503),  # quota exceeded
        (0, 0x10, 503),  # taken, but nobody keeps it
        (0, None, 503),
        (None, None, 503),
        (0x88, None, 503),  # server unavailable
    ],
)
def test_only_what_somebody_keeps_is_a_success(connected: int | None, acknowledged: int | None, status: int) -> None:
    assert _answer(connected, acknowledged).status == status


def test_without_a_broker_the_device_is_told_to_come_again() -> None:
    answer = deliver(Broker("127.0.0.1", 1), POST, threading.Event())
    assert (answer.status, answer.retry_seconds) == (503, 5)
