"""What each field of a rule takes: the bounds of storeedge.v1.DeviceRule, wherever a rule comes from. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from agent.mqtt.topics import MAX_TOPIC_BYTES, ROOTS, is_filter
from agent.spec import DeviceRule

MAX_RULES = 256
MAX_PER_MINUTE = 60_000
MAX_SAMPLE_EVERY = 1_000_000
MAX_SECONDS = 86_400
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_REDACTED = 16
MAX_FIELD_BYTES = 128


@dataclass(frozen=True, slots=True)
class Wrong:
    """`field` is a name of DeviceRule's fields, `takes` says to people what it may be."""

    field: str
    takes: str


def wrong(rule: DeviceRule) -> Wrong | None:
    """The first field that can't be. Also a filter that can match nothing: what it was meant to keep in would leave."""
    return next(_all_wrong(rule), None)


def _all_wrong(rule: DeviceRule) -> Iterator[Wrong]:
    if not is_filter(rule.filter) or len(rule.filter.encode(errors="replace")) > MAX_TOPIC_BYTES:
        yield Wrong("filter", f"an MQTT topic filter of at most {MAX_TOPIC_BYTES} bytes")
    elif rule.filter != "#" and rule.filter.partition("/")[0] not in ROOTS:
        yield Wrong("filter", f"must begin with {', '.join(f'{root}/' for root in ROOTS)}, or be #")
    for name, value, most in (
        ("priority", rule.priority, 9),
        ("max_per_minute", rule.max_per_minute, MAX_PER_MINUTE),
        ("sample_every", rule.sample_every, MAX_SAMPLE_EVERY),
        ("latest_seconds", rule.latest_seconds, MAX_SECONDS),
        ("batch_seconds", rule.batch_seconds, MAX_SECONDS),
        ("max_payload_bytes", rule.max_payload_bytes, MAX_PAYLOAD_BYTES),
    ):
        if not 0 <= value <= most:
            yield Wrong(name, f"0..{most}, not {value}")
    if rule.latest_seconds and rule.batch_seconds:
        yield Wrong("batch_seconds", "0 together with latest_seconds")
    if rule.dead_band is not None:
        if not (math.isfinite(rule.dead_band.delta) and rule.dead_band.delta > 0):
            yield Wrong("dead_band.delta", f"a number above 0, not {rule.dead_band.delta}")
        if rule.dead_band.field and not _is_path(rule.dead_band.field):
            yield Wrong("dead_band.field", _PATH)
    if len(rule.redact) > MAX_REDACTED or not all(_is_path(name) for name in rule.redact):
        yield Wrong("redact", f"at most {MAX_REDACTED}, each {_PATH}")


_PATH = f"a dotted name like patient.name, at most {MAX_FIELD_BYTES} bytes"


def _is_path(text: str) -> bool:
    return all(text.split(".")) and len(text.encode(errors="replace")) <= MAX_FIELD_BYTES
