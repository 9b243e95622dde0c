"""A rule of the wire in the agent's own words."""

from agent.link.desired_rule import rule
from agent.spec import DeadBand, DeviceRule, Residency
from storeedge.v1 import desired_pb2


def test_every_field_of_the_wire_arrives() -> None:
    message = desired_pb2.DeviceRule(
        filter="devices/#",
        forward=True,
        residency=desired_pb2.RESIDENCY_STORE,
        priority=7,
        max_per_minute=1,
        sample_every=2,
        latest_seconds=3,
        dead_band=desired_pb2.DeadBand(field="a.b", delta=0.5),
        batch_seconds=4,
        max_payload_bytes=5,
        redact=["x.y"],
        undecoded=True,
    )
    assert {field.name for field, _ in message.ListFields()} == set(DeviceRule.__dataclass_fields__)
    assert rule(message) == DeviceRule(
        "devices/#", True, Residency.STORE, 7, 1, 2, 3, DeadBand("a.b", 0.5), 4, 5, ("x.y",), True
    )  # fmt: skip


def test_a_residency_of_a_later_version_keeps_in_rather_than_lets_out() -> None:
    assert rule(desired_pb2.DeviceRule(residency=3)).residency is Residency.STORE  # type: ignore[arg-type]  # unknown
    assert rule(desired_pb2.DeviceRule()).residency is Residency.ANY
