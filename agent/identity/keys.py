"""Keys, requests and certificates, by way of a child process that alone imports cryptography."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import AwayError, ConfigError
from agent.identity import child

# A file, not a module name: works from a checkout on PYTHONPATH too, which -I ignores.
_CHILD = Path(__file__).with_name("keychild.py")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says of its holder."""

    uris: tuple[str, ...]
    not_before_unix_nano: int
    not_after_unix_nano: int


async def make(key_file: Path, spiffe_id: str, secret: bytes = b"") -> bytes:
    """A new EC P-256 key in `key_file` (0600), and its CSR in DER. Raises StorageError, AwayError.

    `secret` (lock.py) locks it on disk; with an empty one it isn't locked. The same here and below.
    """
    return await _ask(secret, "make", str(key_file), spiffe_id)


async def request(key_file: Path, spiffe_id: str, secret: bytes = b"") -> bytes:
    """The CSR in DER of a key that is there. Raises RefusedError(BAD_REQUEST) when it is broken or doesn't open."""
    return await _ask(secret, "request", str(key_file), spiffe_id)


async def check(key_file: Path, chain_der: Sequence[bytes], bundle_der: Sequence[bytes], secret: bytes = b"") -> Facts:
    """Facts of the leaf, proven to be of this key and to lead to a root of the bundle.

    Raises RefusedError(BAD_REQUEST) when it isn't so, StorageError, AwayError.
    """
    asked = {
        "secret": secret.decode(),
        "chain": [base64.b64encode(each).decode() for each in chain_der],
        "bundle": [base64.b64encode(each).decode() for each in bundle_der],
    }
    facts = json.loads(await _ask(json.dumps(asked).encode(), "check", str(key_file)))
    return Facts(tuple(facts["uris"]), facts["not_before_unix_nano"], facts["not_after_unix_nano"])


def unlock(key_file: Path, secret: bytes) -> bytes:
    """The locked key in `key_file`, as PEM that gRPC takes. Blocks for as long as a process takes to start.

    Raises ConfigError when `secret` is not its own, AwayError.
    """
    command = [sys.executable, "-I", str(_CHILD), "open", str(key_file)]
    try:
        done = subprocess.run(
            command, input=secret, capture_output=True, check=False, timeout=60, env={"LC_ALL": "C.UTF-8"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AwayError(f"{key_file} can't be opened now: {error}") from error
    if done.returncode != 0:
        raise ConfigError(
            f"{key_file} is locked by a machine's TPM, and what this one gives doesn't open it: the disk is of another"
            " machine, or the TPM was cleared; enrol again with a new token: edge-agent enrol --force"
        )
    return done.stdout


async def _ask(stdin: bytes, *arguments: str) -> bytes:
    return await child.ask(_CHILD, stdin, *arguments, refusal="the certificate is not usable")
