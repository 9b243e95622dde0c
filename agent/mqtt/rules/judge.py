"""What a rule says of one message, in the order of storeedge.v1.DeviceRule. Pure but for the memory it is handed."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from agent.model import DeviceMessage
from agent.mqtt.rules import payload as json
from agent.mqtt.rules.compile import Rule
from agent.mqtt.rules.memory import Memory, TopicMemory


class Why(StrEnum):
    """Why a message isn't forwarded."""

    STAYS = "stays in the store"
    TOO_LONG = "payload too long for its rule"
    DEAD_BAND = "within the dead band"
    SAMPLED = "between two samples"
    RATE = "over the rate"
    NOT_REDACTABLE = "no JSON object to redact"
    UNDECODED = "can't be decoded"


@dataclass(frozen=True, slots=True)
class Hold:
    """A message waits on disk until `due_seconds`; `latest`: it takes the place of the one that waits."""

    due_seconds: float
    latest: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """It is forwarded with this payload: at once, or held first."""

    payload: bytes
    hold: Hold | None = None


def judge(rule: Rule, topic: str, payload: bytes, memory: Memory, now_seconds: float) -> Pass | Why:
    """`now_seconds` only grows."""
    spec = rule.spec
    if rule.stays:
        return Why.STAYS
    if rule.passes:
        return Pass(payload)
    if spec.max_payload_bytes and len(payload) > spec.max_payload_bytes:
        return Why.TOO_LONG
    known = memory.of(topic, rule, now_seconds)
    document = _document(payload) if spec.dead_band is not None or rule.redact else None
    number = json.number_at(document, rule.band) if spec.dead_band is not None else None
    why = _thinned(rule, known, number, now_seconds)
    if why is not None:
        return why
    if rule.redact:
        left = json.without(document, rule.redact)
        if left is None:
            return Why.NOT_REDACTABLE
        payload = left
    if number is not None:
        known.last_number = number
    return Pass(payload, _hold(rule, known, memory, now_seconds))


def still(rule: Rule, message: DeviceMessage) -> DeviceMessage | None:
    """What may leave of a message that is held already: only what keeps words from leaving is asked, not what thins."""
    if rule.stays:
        return None
    if not rule.redact:
        return message
    left = json.without(_document(message.payload), rule.redact)
    return None if left is None else replace(message, payload=left, values=())


def _document(payload: bytes) -> Any:
    try:
        return json.decoded(payload)
    except ValueError:
        return None


def _thinned(rule: Rule, known: TopicMemory, number: float | None, now_seconds: float) -> Why | None:
    spec = rule.spec
    # What has no such number is no reading ("sensor broken"): it is forwarded.
    band, last = spec.dead_band, known.last_number
    if band is not None and number is not None and last is not None and abs(number - last) < band.delta:
        return Why.DEAD_BAND
    if spec.sample_every:
        known.seen += 1
        if (known.seen - 1) % spec.sample_every:
            return Why.SAMPLED
    if spec.max_per_minute:
        most = float(spec.max_per_minute)
        passed = now_seconds - known.tokens_seconds
        known.tokens = min(most, known.tokens + passed * most / 60)
        known.tokens_seconds = now_seconds
        if known.tokens < 1:
            return Why.RATE
        known.tokens -= 1
    return None


def _hold(rule: Rule, known: TopicMemory, memory: Memory, now_seconds: float) -> Hold | None:
    if rule.spec.latest_seconds:
        if now_seconds >= known.window_ends_seconds:
            known.window_ends_seconds = now_seconds + rule.spec.latest_seconds
        return Hold(known.window_ends_seconds, latest=True)
    if rule.spec.batch_seconds:
        ends = memory.batch_ends_seconds.get(rule.spec.filter, 0.0)
        if now_seconds >= ends:
            ends = memory.batch_ends_seconds[rule.spec.filter] = now_seconds + rule.spec.batch_seconds
        return Hold(ends)
    return None
