"""A short-lived process that opens sealed secrets, so that neither their key nor cryptography is in the daemon.

Run by sealing.py as a file, with -I: stdlib and cryptography only, nothing of ours. Exit 3 = the input is refused,
4 = the disk; one line on stderr says why, and never what a secret holds.

    sealchild.py make KEY_FILE             writes a new P-256 key (0600); stdout: SubjectPublicKeyInfo in DER
    sealchild.py public KEY_FILE           stdout: the same of the key that is there
    sealchild.py open KEY_FILE <JSON       stdin {"tenant", "job", "secrets": {name: base64}}; stdout {name: base64}
"""

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

REFUSED, DISK = 3, 4

_SUITE = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)  # RFC 9180, base mode


def info(tenant: str, job: str, name: str) -> bytes:
    """What a secret is bound to: HPKE's info. None of the three can hold a newline."""
    return f"storeedge-secret-v1\n{tenant}\n{job}\n{name}".encode()


def make(key_file: Path) -> bytes:
    """A new key in `key_file`: whole or not there at all. Returns its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    beside = key_file.with_name(f".{key_file.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(key_file)
    return public(key)


def load(key_file: Path) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError for anything but a P-256 key, OSError."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a P-256 key")  # noqa: TRY004 - a wrong file, not a wrong type in code
    return key


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def unseal(key: ec.EllipticCurvePrivateKey, tenant: str, job: str, secrets: dict[str, str]) -> dict[str, str]:
    """Raises ValueError that names the secret which doesn't open."""
    opened: dict[str, str] = {}
    for name, sealed in secrets.items():
        try:
            content = _SUITE.decrypt(base64.b64decode(sealed), key, info(tenant, job, name))
        except (InvalidTag, ValueError):
            raise ValueError(f"{name}: altered, or sealed for another job or key") from None
        opened[name] = base64.b64encode(content).decode()
    return opened


def main(argv: list[str]) -> int:
    verb, key_file = argv[0], Path(argv[1])
    try:
        if verb == "make":
            sys.stdout.buffer.write(make(key_file))
        elif verb == "public":
            sys.stdout.buffer.write(public(load(key_file)))
        else:
            asked: dict[str, Any] = json.load(sys.stdin)
            sys.stdout.write(json.dumps(unseal(load(key_file), asked["tenant"], asked["job"], asked["secrets"])))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return DISK
    except (ValueError, UnsupportedAlgorithm) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
