"""Sparkplug B payloads: bytes to named metrics. Pure; docs/decisions/0075-sparkplug.md says why no library."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from agent.mqtt.registry.decoded import Malformed
from storeedge.sparkplug.v1.payload_pb2 import Metric as _Metric
from storeedge.sparkplug.v1.payload_pb2 import Payload as _Payload
from storeedge.sparkplug.v1.payload_pb2 import PropertySet as _PropertySet

Value = float | int | bool | str

# A message of 128 KiB could bring 60,000 empty ones; what is behind these is not looked at.
MAX_METRICS = 4096
_MAX_PROPERTIES = 32
BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"

# The specification's 6.4.16, "Data Types".
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
_UNSIGNED_BITS = {5: 8, 6: 16, 7: 32, 8: 64, 13: 64}
_BOOLEAN = 11
_FLOATS = {9, 10}
_TEXTS = {12, 14, 15}
_DATE_TIME = 13
_NAMES_OF_UNIT = {"engunit", "engineering unit", "engineering units", "unit", "units"}


class Metric(NamedTuple):
    """`datatype` 0 and an empty `unit` or `name`: the birth has said it. `raw` is the value as it was on the wire."""

    name: str
    alias: int | None
    datatype: int
    raw: Value | None
    unit: str
    time_milli: int
    historical: bool
    transient: bool


class Report(NamedTuple):
    """`seq` None: a death has none. `bd_seq` is which of its sessions the edge node means, in NBIRTH and NDEATH."""

    time_milli: int
    seq: int | None
    bd_seq: int | None
    metrics: tuple[Metric, ...]


def decode(payload: bytes) -> Report | Malformed:
    """Never raises."""
    message = _Payload()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return Malformed("no Sparkplug payload")
    if message.body:
        return Malformed(f"a body of {'compressed or unknown' if message.uuid else 'unknown'} content")
    seq = message.seq if message.HasField("seq") else None
    if seq is not None and seq > 255:
        return Malformed("seq over 255")
    metrics = tuple(_metric(metric, message.timestamp) for metric in message.metrics[:MAX_METRICS])
    bd_seq = next((m.raw for m in metrics if m.name == BD_SEQ and isinstance(m.raw, int)), None)
    return Report(message.timestamp, seq, bd_seq, metrics)


def _metric(metric: _Metric, time_milli: int) -> Metric:
    which = metric.WhichOneof("value")
    raw: Value | None = None
    if which is not None and not metric.is_null and not which.startswith(("bytes", "dataset", "template", "extension")):
        raw = getattr(metric, which)
    return Metric(
        metric.name,
        metric.alias if metric.HasField("alias") else None,
        metric.datatype,
        raw,
        _unit(metric.properties) if metric.HasField("properties") else "",
        metric.timestamp if metric.HasField("timestamp") else time_milli,
        metric.is_historical,
        metric.is_transient,
    )


def _unit(properties: _PropertySet) -> str:
    for key, value in zip(properties.keys[:_MAX_PROPERTIES], properties.values[:_MAX_PROPERTIES], strict=False):
        if key.lower() in _NAMES_OF_UNIT and value.WhichOneof("value") == "string_value":
            return value.string_value
    return ""


def typed(datatype: int, raw: Value | None) -> Value | None:
    """The value as its data type means it; None when it is none of ours: DataSet, Template, bytes, files, arrays.

    Encoders differ in how many bits a negative number gets, and in which field a UInt32 goes: only the type's own bits
    count. A metric whose type nobody said keeps the type it has on the wire.
    """
    if raw is None or datatype == 0:
        return raw
    if datatype == _BOOLEAN:
        return raw if isinstance(raw, bool) else None
    if datatype in _TEXTS:
        return raw if isinstance(raw, str) else None
    if datatype in _FLOATS:
        return raw if isinstance(raw, float) else None
    if isinstance(raw, bool) or not isinstance(raw, int):
        return None
    if bits := _UNSIGNED_BITS.get(datatype):
        return raw & ((1 << bits) - 1)
    if bits := _SIGNED_BITS.get(datatype):
        low = raw & ((1 << bits) - 1)
        return low - (1 << bits) if low >> (bits - 1) else low
    return None


def unit_of(datatype: int, unit: str) -> str:
    """A DateTime is milliseconds since 1970."""
    return unit or ("ms" if datatype == _DATE_TIME else "")


def rebirth_topic(group: str, node: str) -> str:
    return f"spBv1.0/{group}/NCMD/{node}"


def rebirth_command(now_unix_nano: int) -> bytes:
    """What asks an edge node for its births (6.4.25): QoS 0, not retained."""
    now_milli = now_unix_nano // 1_000_000
    metric = _Metric(name=REBIRTH, timestamp=now_milli, datatype=_BOOLEAN, boolean_value=True)
    return _Payload(timestamp=now_milli, metrics=[metric]).SerializeToString()
