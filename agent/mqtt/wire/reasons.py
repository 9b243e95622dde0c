"""Why a broker says no (MQTT 5, 2.4), in words."""

_REASONS = {
    0x81: "malformed packet",
    0x82: "protocol error",
    0x85: "client id not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8B: "server shutting down",
    0x8D: "keepalive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x93: "receive maximum exceeded",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x98: "administrative action",
}


def said(reason: int) -> str:
    return _REASONS.get(reason, f"reason 0x{reason:02x}")
