"""What an HTTP request asks to be published, or the answer that refuses it. Pure."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

MAX_BODY_BYTES = 128 * 1024  # of a device's message, as over MQTT (storeedge.v1.DeviceMessage)
_MAX_TARGET_BYTES = 1024
_MAX_KEY_BYTES = 128  # storeedge.v1.DeviceMessage.idempotency_key
_MAX_CONTENT_TYPE_BYTES = 128
_ROOT = b"/devices/"
_ANSWER = re.compile(r"cmd/[^/]+/ack")
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and one line for whoever reads it. `retry_seconds` becomes Retry-After."""

    status: int
    text: str
    retry_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """A message of `device`, who says that it knows `password`: the broker is asked whether it does."""

    device: str
    password: str = field(repr=False)
    topic: str
    payload: bytes
    content_type: str
    idempotency_key: str


def read(method: bytes, target: bytes, headers: Headers, body: bytes) -> Post | Answer:
    """`POST /devices/<id>/<channel>` with Basic authentication (RFC 7617): user name and id are the same.

    Idempotency-Key is the header of draft-ietf-httpapi-idempotency-key-header. Header names are in lower case.
    """
    if not target.startswith(_ROOT) or len(target) > _MAX_TARGET_BYTES:
        return Answer(404, "there is /devices/<id>/<channel>")
    if method != b"POST":
        return Answer(405, "POST")
    credentials = _credentials(_header(headers, b"authorization"))
    if credentials is None:
        return Answer(401, "user name and password of the device, by Basic authentication")
    device, password = credentials
    topic = _topic(target)
    if topic is None:
        return Answer(400, "the channel is not a topic: UTF-8 without NUL, + and #, no empty level")
    if topic.split("/")[1] != device:
        return Answer(403, f"{device} may publish below /devices/{device}/ only")
    channel = topic.split("/", 2)[2]
    if channel.split("/")[0] == "cmd" and not _ANSWER.fullmatch(channel):
        return Answer(403, "below cmd/ a device may only answer: cmd/<name>/ack")
    content_type, key = _header(headers, b"content-type"), _header(headers, b"idempotency-key")
    for name, value, most in (
        ("Content-Type", content_type, _MAX_CONTENT_TYPE_BYTES),
        ("Idempotency-Key", key, _MAX_KEY_BYTES),
    ):
        if len(value) > most or not value.isascii() or not value.decode("latin-1").isprintable():
            return Answer(400, f"{name}: at most {most} printable ASCII characters")
    return Post(device, password, topic, body, content_type.decode(), key.decode().strip('"'))


def _header(headers: Headers, name: bytes) -> bytes:
    return next((value for known, value in headers if known == name), b"")


def _credentials(value: bytes) -> tuple[str, str] | None:
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if name and colon and password and "\0" not in name + password else None


def _topic(target: bytes) -> str | None:
    try:
        topic = unquote_to_bytes(target.partition(b"?")[0][1:]).decode()
    except UnicodeDecodeError:
        return None
    levels = topic.split("/")
    if len(levels) < 3 or not all(levels) or len(topic.encode()) > 512 or any(c in topic for c in "\0+#"):
        return None
    return topic
