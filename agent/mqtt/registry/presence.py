"""Who a message says is there or gone. Pure."""

from typing import Any, cast

from agent.mqtt.registry.decoded import Decoded
from agent.mqtt.rules.payload import decoded
from agent.mqtt.topics import DeviceTopic, Kind

_WORDS = {"online": True, "offline": False}
# `{"state":"offline"}` and some blanks; anything longer is a status in words of its own.
_MAX_STATUS_BYTES = 64


def said(where: DeviceTopic, payload: bytes, found: Decoded) -> dict[str, bool]:
    """By device. A status is `online` or `offline`, or zigbee2mqtt's JSON of the same."""
    present = dict(found.present)
    if where.kind is Kind.STATUS and len(payload) <= _MAX_STATUS_BYTES:
        word = payload.decode(errors="replace").strip().lower()
        if word.startswith("{"):
            word = _state(payload)
        if word in _WORDS:
            present[where.device] = _WORDS[word]
    return present


def _state(payload: bytes) -> str:
    try:
        document = decoded(payload)
    except ValueError:
        return ""
    state = cast("dict[str, Any]", document).get("state") if isinstance(document, dict) else None
    return state.lower() if isinstance(state, str) else ""
