"""Keys, requests and certificates, by way of a child process that alone imports cryptography."""

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AwayError, RefusedError, StorageError

# A file, not a module name: works from a checkout on PYTHONPATH too, which -I ignores.
_CHILD = Path(__file__).with_name("keychild.py")
_TIMEOUT_SECONDS = 60.0  # a Raspberry Pi under load imports cryptography in a few seconds


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of its holder."""

    uris: tuple[str, ...]
    not_before_unix_nano: int
    not_after_unix_nano: int


async def make(key_file: Path, spiffe_id: str) -> bytes:
    """A new EC P-256 key in `key_file` (0600), and its CSR in DER. Raises StorageError, AwayError."""
    return await _ask(b"", "make", str(key_file), spiffe_id)


async def check(key_file: Path, chain_der: Sequence[bytes], bundle_der: Sequence[bytes]) -> Facts:
    """Facts of the leaf, proven to be of this key and to lead to a root of the bundle.

    Raises RefusedError(BAD_REQUEST) when it isn't so, StorageError, AwayError.
    """
    asked = {
        "chain": [base64.b64encode(each).decode() for each in chain_der],
        "bundle": [base64.b64encode(each).decode() for each in bundle_der],
    }
    facts = json.loads(await _ask(json.dumps(asked).encode(), "check", str(key_file)))
    return Facts(tuple(facts["uris"]), facts["not_before_unix_nano"], facts["not_after_unix_nano"])


async def _ask(stdin: bytes, *arguments: str) -> bytes:
    # No preexec_fn, user or group: those fork for real, and a fork beside a live gRPC channel dies in one of ten.
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_CHILD),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            out, error = await child.communicate(stdin)
    except TimeoutError:
        raise AwayError(f"making or checking a key took longer than {_TIMEOUT_SECONDS:.0f} s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    reason = error.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    match child.returncode:
        case 0:
            return out
        case 3:
            raise RefusedError("BAD_REQUEST", f"the certificate is not usable: {reason}")
        case 4:
            raise StorageError(f"the key can't be written or read: {reason}")
        case code:
            raise RuntimeError(f"{_CHILD.name} {arguments[0]} ended with {code}: {reason}")
