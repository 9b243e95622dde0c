"""Passwords at the broker: derived from one secret of this box, so that none is stored and all can be made again."""

import base64
import hashlib
import hmac
import os
from pathlib import Path

from agent.errors import CorruptError, StorageError
from agent.fsio import write_atomic

_BYTES = 32
_NAME = "mqtt-secret"


def load_or_make(state_dir: Path) -> bytes:
    """32 random bytes of `state_dir`/mqtt-secret (0600). Raises StorageError, CorruptError.

    A secret that is broken is not replaced: every device's password would change unseen.
    """
    path = state_dir / _NAME
    try:
        if not path.exists():
            write_atomic(path, os.urandom(_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    if len(secret) != _BYTES:
        raise CorruptError(f"{path} has {len(secret)} bytes, not {_BYTES}: restore it, or remove it for new passwords")
    return secret


def password(secret: bytes, kind: str, name: str, generation: int) -> str:
    """43 characters of base64url. `kind` is "device", "job", "agent" or "store": no two users share a password."""
    text = f"{kind}\0{name}\0{generation}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).rstrip(b"=").decode()
