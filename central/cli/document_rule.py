"""[[rule]] of the file that `edgectl apply` takes: its keys, and the DeviceRule made of them. Pure.

A store's own /etc/edge-agent/rules.toml is written in the same words: agent/mqtt/rules/operators_file.py.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

from central.cli.checks import KIB, boolean, choice, count, duration, size, text
from central.cli.tables import Field, table
from storeedge.v1.desired_pb2 import RESIDENCY_ANY, RESIDENCY_STORE, DeadBand, DeviceRule

_FIELD_BYTES = 128
_REDACTED = 16


def _dotted(value: object) -> str:
    if not isinstance(value, str) or not all(value.split(".")) or len(value.encode()) > _FIELD_BYTES:
        raise ValueError(f'a name in a JSON object, e.g. "temperature" or "patient.name", not {value!r}')
    return value


def _field(value: object) -> str:
    return "" if value == "" else _dotted(value)


def _delta(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"a number above 0, not {value!r}")
    return float(value)


def _names(value: object) -> list[str]:
    names = cast("list[object]", value) if isinstance(value, list) else []
    if not 1 <= len(names) <= _REDACTED:
        raise ValueError(f'a list of 1..{_REDACTED} names, e.g. ["patient.name"]')
    return [_dotted(name) for name in names]


_BAND = {"field": Field(_field), "delta": Field(_delta, required=True)}
RULE = {
    "filter": Field(
        text(
            r"#|(devices|spBv1\.0|homeassistant|zigbee2mqtt)(/[^\0]*)?",
            'an MQTT filter that begins with "devices/", "spBv1.0/", "homeassistant/" or "zigbee2mqtt/", or "#"',
        ),
        required=True,
    ),
    "forward": Field(boolean),
    "residency": Field(choice({"any": RESIDENCY_ANY, "store": RESIDENCY_STORE})),
    "priority": Field(count(0, 9)),
    "max_payload": Field(size(1, 128 * KIB)),
    "dead_band": Field(table(_BAND)),
    "sample_every": Field(count(1, 1_000_000)),
    "max_per_minute": Field(count(1, 60_000)),
    "redact": Field(_names),
    "latest": Field(duration(1, 86_400)),
    "batch": Field(duration(1, 86_400)),
    "undecoded": Field(boolean),
}


def rule(values: Mapping[str, Any]) -> DeviceRule:
    """Raises ValueError when two of the keys can't be together."""
    if "latest" in values and "batch" in values:
        raise ValueError(f"[[rule]] ({values['filter']}): batch: not together with latest")
    band = values.get("dead_band")
    return DeviceRule(
        filter=values["filter"],
        forward=values.get("forward", True),
        residency=values.get("residency", RESIDENCY_ANY),
        priority=values.get("priority", 5),
        max_payload_bytes=values.get("max_payload", 0),
        dead_band=DeadBand(field=band.get("field", ""), delta=band["delta"]) if band else None,
        sample_every=values.get("sample_every", 0),
        max_per_minute=values.get("max_per_minute", 0),
        redact=values.get("redact", []),
        latest_seconds=values.get("latest", 0),
        batch_seconds=values.get("batch", 0),
        undecoded=values.get("undecoded", False),
    )
