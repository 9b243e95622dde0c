"""The node's sealing key: secrets are encrypted to it elsewhere, and opened here right before a run that needs them."""

import base64
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from agent.errors import RefusedError, StorageError
from agent.fsio import sync_directory, write_atomic
from agent.identity import child
from agent.spec import Secret

log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("sealchild.py")


async def ensure(key_file: Path) -> bytes:
    """The public half of the sealing key, SubjectPublicKeyInfo in DER, for Hello.sealing_key_der.

    Made at the first call (`key_file`, 0600), and kept beside it as KEY_FILE.pub, so that no later start needs a child
    process. A key that can't be read is set aside and replaced: what was sealed to it has to be applied again.
    Raises StorageError, AwayError.
    """
    public_file = _public_file(key_file)
    try:
        kept = _kept(key_file)
        if kept is not None:
            return kept
        public = await _public(key_file)
        write_atomic(public_file, public)
    except OSError as error:
        raise StorageError(f"{public_file}: {error.strerror}") from error
    return public


async def unseal(key_file: Path, tenant: str, job: str, secrets: Sequence[Secret]) -> dict[str, bytes]:
    """Name -> content of the secrets of one job, opened by a child process. Nothing here keeps or logs them.

    Tenant and job are bound into each secret: what was sealed for another job doesn't open. Raises RefusedError when
    a secret is not for this node's key or was altered or moved, StorageError, AwayError.
    """
    if not secrets:
        return {}
    try:
        known = key_id(_public_file(key_file).read_bytes())
    except OSError as error:
        raise StorageError(f"{_public_file(key_file)}: {error.strerror}") from error
    chosen: dict[str, str] = {}
    for secret in secrets:
        sealed = next((each for each in secret.sealed if each.key_id == known), None)
        if sealed is None:
            raise RefusedError(
                "NOT_FOUND", f"secret {secret.name} is not sealed for this node's key {known}: apply the file again"
            )
        chosen[secret.name] = base64.b64encode(sealed.ephemeral + sealed.ciphertext).decode()
    asked = json.dumps({"tenant": tenant, "job": job, "secrets": chosen}).encode()
    try:
        answer = await child.ask(_CHILD, asked, "open", str(key_file), refusal="a secret can't be opened")
    except RuntimeError as error:  # what nobody foresaw of somebody's secret must not end everybody's jobs
        raise RefusedError("INTERNAL", str(error)) from error
    return {name: base64.b64decode(content) for name, content in json.loads(answer).items()}


def key_id(public_der: bytes) -> str:
    """First 16 hex digits of SHA-256 over the public key, as SealedSecret.key_id has it."""
    return hashlib.sha256(public_der).hexdigest()[:16]


def _public_file(key_file: Path) -> Path:
    return key_file.with_name(f"{key_file.name}.pub")


def _kept(key_file: Path) -> bytes | None:
    return _public_file(key_file).read_bytes() if key_file.exists() and _public_file(key_file).exists() else None


def _set_aside(key_file: Path, reason: RefusedError) -> None:
    aside = key_file.with_name(f"{key_file.name}.broken")
    key_file.replace(aside)
    log.warning("sealing key set aside", extra={"path": aside, "reason": reason})


def _is_there(key_file: Path) -> bool:
    return os.path.lexists(key_file)


async def _public(key_file: Path) -> bytes:
    if _is_there(key_file):
        try:
            return await child.ask(_CHILD, b"", "public", str(key_file), refusal="the sealing key is broken")
        except RefusedError as error:
            _set_aside(key_file, error)
    public = await child.ask(_CHILD, b"", "make", str(key_file), refusal="no sealing key can be made")
    sync_directory(key_file.parent)
    return public
