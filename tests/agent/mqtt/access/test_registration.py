"""agent/mqtt/access/registration.py."""

import pytest

from agent.errors import RefusedError
from agent.model import Credential, DeviceProtocol
from agent.mqtt.access import registration
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.registration import judge, registered, wants_generation
from agent.orders import DeviceOrder, NewCredential


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (DeviceOrder(""), "id is 1 to 64"),
        (DeviceOrder("a/b"), "id is 1 to 64"),
        (DeviceOrder("job:7"), "id is 1 to 64"),
        (DeviceOrder("d" * 65), "id is 1 to 64"),
        (DeviceOrder("edge-agent"), "the agent's own"),
        (DeviceOrder("edge-agent-control"), "the agent's own"),
        (DeviceOrder("store"), "the agent's own"),
        (DeviceOrder("ca"), "the agent's own"),
        (DeviceOrder("d", zone="a b"), "zone"),
        (DeviceOrder("d", device_class="x" * 65), "class"),
        (DeviceOrder("d", group="a/b"), "group"),
        (DeviceOrder("d", silent_after_seconds=31_536_001), "silent_after"),
        (DeviceOrder("d", days=3651), "days"),
        (DeviceOrder("d", credential=NewCredential.CSR), "csr"),
        (DeviceOrder("d", credential=NewCredential.CSR, csr_der=b"x" * 4097), "csr"),
        (DeviceOrder("d", protocol=DeviceProtocol.SPARKPLUG), "needs one"),
        (DeviceOrder("d", group="shop"), "only a Sparkplug"),
    ],
)
def test_a_bad_order_is_refused_with_its_field(order: DeviceOrder, why: str) -> None:
    with pytest.raises(RefusedError, match=why) as refusal:
        judge([DeviceOrder("good"), order], {})
    assert refusal.value.reason == "BAD_REQUEST"


def test_nobody_at_all_too_many_and_the_same_twice_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for orders in ([], [DeviceOrder(f"d{number}") for number in range(257)], [DeviceOrder("d"), DeviceOrder("d")]):
        with pytest.raises(RefusedError):
            judge(orders, {})
    monkeypatch.setattr(registration, "MAX_ACCOUNTS", 2)
    known = {"a": Account("a"), "b": Account("b")}
    judge([DeviceOrder("a")], known)
    with pytest.raises(RefusedError, match="at most 2") as refusal:
        judge([DeviceOrder("c")], known)
    assert refusal.value.reason == "NO_ROOM"


def test_what_is_not_said_stays_and_a_group_goes_with_its_protocol() -> None:
    known = Account("d", "cold", "fridge", DeviceProtocol.SPARKPLUG, "shop", Credential.PASSWORD, 3)
    assert registered(DeviceOrder("d"), known, 9) == known
    changed = registered(DeviceOrder("d", zone="", protocol=DeviceProtocol.NATIVE), known, 9)
    assert (changed.zone, changed.device_class, changed.group) == ("", "fridge", "")
    assert (changed.credential, changed.password_generation) == (Credential.PASSWORD, 3)
    assert registered(DeviceOrder("new", silent_after_seconds=5), None, 9) == Account(
        "new", silent_after_seconds=5, created_unix_nano=9
    )


def test_a_password_is_kept_when_asked_to_and_there_is_one() -> None:
    has_one = Account("d", credential=Credential.PASSWORD)
    order, keep = DeviceOrder("d", credential=NewCredential.PASSWORD), DeviceOrder(
        "d", credential=NewCredential.PASSWORD, keep=True
    )  # fmt: skip
    assert wants_generation(order, has_one) and not wants_generation(keep, has_one)
    assert wants_generation(keep, None) and wants_generation(keep, Account("d", credential=Credential.REVOKED))
    assert not wants_generation(DeviceOrder("d"), None)
