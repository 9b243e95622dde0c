"""Secrets, sealed on the operator's machine for one node each: central never holds what they say.

HPKE (RFC 9180), base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; docs/PROTOCOL.md "Secrets".
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from central.cli.document_job import Source
from central.cli.errors import CliError
from storeedge.v1.desired_pb2 import Desired, SealedSecret, Secret

MAX_BYTES = (16 << 10) - 16  # of one secret; the tag is 16 bytes
MAX_TOGETHER_BYTES = 31 << 10  # of one job's
_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_POINT_BYTES = 65  # the encapsulated key, an uncompressed point

# Job -> name of the secret -> what it says.
Contents = Mapping[str, Mapping[str, bytes]]


def gather(sources: Mapping[str, Mapping[str, Source]], directory: Path) -> Contents:
    """What the document's secrets say; files are relative to its directory. Raises CliError, which never says it."""
    found = {
        job: {name: _content(f"job {job}: secret {name}", source, directory) for name, source in secrets.items()}
        for job, secrets in sources.items()
    }
    for job, secrets in found.items():
        if sum(map(len, secrets.values())) > MAX_TOGETHER_BYTES:
            raise CliError(f"job {job}: its secrets hold at most {MAX_TOGETHER_BYTES} bytes together")
    return found


def _content(what: str, source: Source, directory: Path) -> bytes:
    if source.env:
        value = os.environ.get(source.env)
        if value is None:
            raise CliError(f"{what}: the environment has no {source.env}")
        content = value.encode(errors="surrogateescape")
    else:
        path = directory / source.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CliError(f"{what}: {path}: {error.strerror}") from error
    if not 1 <= len(content) <= MAX_BYTES:
        raise CliError(f"{what}: 1..{MAX_BYTES} bytes, not {len(content)}")
    return content


def seal(desired: Desired, contents: Contents, node: str, node_key_der: bytes, digest_key: bytes) -> Desired:
    """A copy of `desired` with its jobs' secrets, for one node. Raises CliError when its key is none."""
    key, key_id = _public_key(node, node_key_der), hashlib.sha256(node_key_der).hexdigest()[:16]
    sealed = Desired()
    sealed.CopyFrom(desired)
    for job in sealed.jobs:
        for name, content in sorted(contents.get(job.id, {}).items()):
            info = f"storeedge-secret-v1\n{job.tenant}\n{job.id}\n{name}".encode()
            box = _SUITE.encrypt(content, key, info)
            parts = SealedSecret(key_id=key_id, ephemeral=box[:_POINT_BYTES], ciphertext=box[_POINT_BYTES:])
            digest = hmac.digest(digest_key, info + b"\0" + content, "sha256")
            job.secrets.append(Secret(name=name, sealed=[parts], digest=digest))
    return sealed


def _public_key(node: str, node_key_der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_der_public_key(node_key_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CliError(f"{node}: its sealing key is none: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CliError(f"{node}: its sealing key is not of P-256")
    return key


def digest_key(operator_key_pem: bytes) -> bytes:
    """Of this operator alone: whoever has the digests can't try out what a secret might say.

    Another operator, or a new key of the same one, gives other digests: the secret then counts as a new one.
    """
    key = serialization.load_pem_private_key(operator_key_pem, None)
    secret = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return HKDF(hashes.SHA256(), 32, None, b"storeedge-secret-digest-v1").derive(secret)
