"""A device rule, from the wire's message. Pure. What its fields take is said once, for the file on site too.

That is agent.mqtt.rules.words; app.py asks it of every desired state before anything of that is stored or applied.
"""

from agent.spec import DeadBand, DeviceRule, Residency
from storeedge.v1 import desired_pb2

_MAY_LEAVE = (desired_pb2.RESIDENCY_UNSPECIFIED, desired_pb2.RESIDENCY_ANY)


def rule(message: desired_pb2.DeviceRule) -> DeviceRule:
    """A residency that this version doesn't know is taken for the strictest."""
    band = message.dead_band
    return DeviceRule(
        filter=message.filter,
        forward=message.forward,
        residency=Residency.ANY if message.residency in _MAY_LEAVE else Residency.STORE,
        priority=message.priority,
        max_per_minute=message.max_per_minute,
        sample_every=message.sample_every,
        latest_seconds=message.latest_seconds,
        dead_band=DeadBand(band.field, band.delta) if message.HasField("dead_band") else None,
        batch_seconds=message.batch_seconds,
        max_payload_bytes=message.max_payload_bytes,
        redact=tuple(message.redact),
        undecoded=message.undecoded,
    )
