"""Whose a retained message is: each topic, by who could publish there now."""

import pytest

from agent.model import Credential, DeviceProtocol
from agent.mqtt.access.accounts import Account
from agent.mqtt.access.ownership import NOBODY, Owner, Owners, Tally, living

ACCOUNTS = {
    each.id: each
    for each in (
        Account("fridge", credential=Credential.CERTIFICATE),
        Account("gone", credential=Credential.REVOKED),
        Account("lamp"),
        Account("plc", credential=Credential.PASSWORD, protocol=DeviceProtocol.SPARKPLUG, group="shop"),
        Account("zb", credential=Credential.PASSWORD, protocol=DeviceProtocol.ZIGBEE2MQTT),
    )
}


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("devices/fridge/status", Owner("fridge")),
        ("devices/gone/status", NOBODY),
        ("devices/lamp/a/b", NOBODY),
        ("devices/never/heard", NOBODY),
        ("spBv1.0/shop/NBIRTH/plc", Owner("plc")),
        ("spBv1.0/shop/DBIRTH/plc/arm", Owner("plc")),
        ("spBv1.0/other/NBIRTH/plc", NOBODY),
        ("spBv1.0/shop/NBIRTH/fridge", NOBODY),
        ("spBv1.0/STATE/host", None),
        ("zigbee2mqtt/lamp", Owner("zb", bridge=True)),
        ("homeassistant/sensor/lamp/t/config", Owner("zb", bridge=True)),
        ("tenants/acme/note", Owner(tenant="acme")),
        ("tenants/bolt/note", NOBODY),
        ("tenants/bolt/jobs/feed/devices", None),
        ("elsewhere", None),
    ],
)
def test_a_topic_is_of_who_could_publish_there_now(topic: str, expected: Owner | None) -> None:
    assert Owners(ACCOUNTS, {"acme"}).of(topic) == expected


def test_while_runs_are_not_known_every_tenant_has_its_own() -> None:
    assert Owners(ACCOUNTS, None).of("tenants/bolt/note") == Owner(tenant="bolt")


def test_of_several_bridges_none_is_blamed_and_the_last_one_takes_all_with_it() -> None:
    other = Account("zb2", credential=Credential.PASSWORD, protocol=DeviceProtocol.ZIGBEE2MQTT)
    assert Owners({**ACCOUNTS, "zb2": other}, None).of("zigbee2mqtt/x") == Owner(bridge=True)
    assert Owners({"fridge": ACCOUNTS["fridge"]}, None).of("zigbee2mqtt/x") == NOBODY


def test_who_passes_the_bound_is_named_once() -> None:
    tally = Tally()
    told = [tally.add(Owner("fridge"), 10) for _ in range(1100)]
    assert (told.index(True), told.count(True)) == (1000, 1)
    assert [tally.add(Owner("door"), size) for size in (4 << 20, 1, 1)] == [False, True, False]
    assert not any(tally.add(Owner("zb", bridge=True), 3000) for _ in range(10_000))
    assert tally.over == {Owner("fridge"), Owner("door")}


def test_who_is_revoked_or_becomes_something_else_has_gone() -> None:
    before = living(ACCOUNTS)
    assert before <= living({**ACCOUNTS, "new": Account("new", credential=Credential.PASSWORD)})
    assert not before <= living({**ACCOUNTS, "fridge": Account("fridge", credential=Credential.REVOKED)})
    assert not before <= living({**ACCOUNTS, "plc": Account("plc", credential=Credential.PASSWORD)})
