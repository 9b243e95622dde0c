"""Grants: what they may say, and that nothing else is let through."""

from collections.abc import Callable

import pytest

from agent.errors import RefusedError
from agent.link.desired_mqtt import grants
from agent.spec import MqttGrant
from storeedge.v1 import desired_pb2 as wire


def asks(*asked: wire.MqttGrant, secrets: tuple[str, ...] = ()) -> wire.JobSpec:
    return wire.JobSpec(mqtt=asked, secrets=[wire.Secret(name=name) for name in secrets])


def test_a_device_a_zone_a_class_and_both_may_be_granted() -> None:
    asked = asks(
        wire.MqttGrant(device="cam-1", channel="#"),
        wire.MqttGrant(zone="shelf-7", channel="+/celsius"),
        wire.MqttGrant(device_class="lamp", commands=["on", "*"]),
        wire.MqttGrant(zone="shelf-7", device_class="lamp", channel="a//b", commands=["on"]),
    )
    assert grants("mqtt", asked) == (
        MqttGrant(device="cam-1", channel="#"),
        MqttGrant(zone="shelf-7", channel="+/celsius"),
        MqttGrant(device_class="lamp", commands=("on", "*")),
        MqttGrant(zone="shelf-7", device_class="lamp", channel="a//b", commands=("on",)),
    )


def test_the_names_of_the_made_secrets_are_free_without_grants() -> None:
    assert grants("mqtt", asks(secrets=("mqtt_username",))) == ()


BAD: list[tuple[str, Callable[[wire.MqttGrant], object]]] = [
    ("mqtt[0]: either device", lambda g: setattr(g, "zone", "z")),
    ("mqtt[0]: either device", lambda g: g.ClearField("device")),
    ("mqtt[0].device: 1..64", lambda g: setattr(g, "device", "+")),
    ("mqtt[0].device: 1..64", lambda g: setattr(g, "device", "a/b")),
    ("mqtt[0].device: 1..64", lambda g: setattr(g, "device", "d" * 65)),
    ("mqtt[0]: channel or commands", lambda g: g.ClearField("channel")),
    ("mqtt[0].channel: at most 256", lambda g: setattr(g, "channel", "ä" * 129)),
    *(("mqtt[0].channel: a topic filter", lambda g, c=c: setattr(g, "channel", c))
      for c in ("a/#/b", "a#", "+a", "a/b+", "a\0", "##", "#/")),
    *(("mqtt[0].channel: not below cmd", lambda g, c=c: setattr(g, "channel", c))
      for c in ("cmd", "cmd/open", "cmd/#", "cmd/+/ack")),
    ("mqtt[0].commands: at most 16", lambda g: g.commands.extend("abcdefghijklmnopq")),
    ("mqtt[0].commands: names", lambda g: g.commands.append("a/b")),
    ("mqtt[0].commands: names", lambda g: g.commands.append("")),
    ("mqtt[0].commands: a comes twice", lambda g: g.commands.extend("aa")),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), BAD)
def test_a_grant_that_says_more_than_it_may_is_refused_by_its_field(
    said: str, change: Callable[[wire.MqttGrant], object]
) -> None:
    grant = wire.MqttGrant(device="d", channel="t")
    change(grant)
    with pytest.raises(RefusedError) as refusal:
        grants("mqtt", asks(grant))
    assert str(refusal.value).startswith(said) and refusal.value.reason == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (asks(*[wire.MqttGrant(device="d", channel="t")] * 33), "mqtt: at most 32"),
        (asks(*[wire.MqttGrant(device="d", channel="t")] * 2), "comes twice"),
        (asks(wire.MqttGrant(device="d", channel="t"), secrets=("x", "mqtt_password")), "secrets: mqtt_password: "),
    ],
)
def test_grants_that_do_not_go_together_are_refused(asked: wire.JobSpec, said: str) -> None:
    with pytest.raises(RefusedError, match=said.replace("[", r"\[")):
        grants("mqtt", asked)
