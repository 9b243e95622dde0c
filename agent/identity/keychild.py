"""A short-lived process that knows X.509, so that the daemon needn't (cryptography costs it 12 MB).

Run by keys.py as a file, with -I: stdlib and cryptography only, nothing of ours. Exit 3 = the input is refused,
4 = the disk; one line on stderr says why.

    keychild.py make KEY_FILE SPIFFE_ID <SECRET     writes a new key (0600); stdout: CSR in DER
    keychild.py request KEY_FILE SPIFFE_ID <SECRET  stdout: CSR in DER for the key that is there
    keychild.py open KEY_FILE <SECRET               stdout: the key, PEM
    keychild.py check KEY_FILE <JSON   stdin {"secret", "chain": [base64 DER, leaf first], "bundle": [base64 DER]};
                                       stdout {"uris", "not_before_unix_nano", "not_after_unix_nano"}
    keychild.py sign KEY_FILE <JSON    stdin {"secret", "text": base64}; stdout: ECDSA signature with SHA-256, DER

SECRET locks the key on disk (PKCS #8, encrypted); empty for a key that isn't locked.
"""

import base64
import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

REFUSED, DISK = 3, 4


def make(key_file: Path, spiffe_id: str, secret: bytes = b"") -> bytes:
    """A new EC P-256 key in `key_file`, which must not exist; returns the request for `spiffe_id`.

    After a crash the file is whole or not there.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    beside = key_file.with_name(f".{key_file.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, key_file, follow_symlinks=False)  # unlike a rename it replaces nothing
    finally:
        beside.unlink()
    return _request(key, spiffe_id)


def request(key_pem: bytes, spiffe_id: str, secret: bytes = b"") -> bytes:
    """Raises ValueError when the key doesn't open or is no EC key."""
    return _request(_load(key_pem, secret), spiffe_id)


def unlocked(key_pem: bytes, secret: bytes) -> bytes:
    """The key as PEM that anybody can read. Raises ValueError when `secret` doesn't open it."""
    key = _load(key_pem, secret)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _request(key: ec.EllipticCurvePrivateKey, spiffe_id: str) -> bytes:
    built = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


def _load(key_pem: bytes, secret: bytes) -> ec.EllipticCurvePrivateKey:
    locked = key_pem.startswith(b"-----BEGIN ENCRYPTED")
    if locked and not secret:
        raise ValueError("the key is locked, and there is no secret to open it")
    key = serialization.load_pem_private_key(key_pem, secret if locked else None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not EC")  # noqa: TRY004 - a wrong file, not a wrong type in code
    return key


def check(key_pem: bytes, chain_der: list[bytes], bundle_der: list[bytes], secret: bytes = b"") -> dict[str, Any]:
    """Facts of the leaf, once it is proven to be our key's and to lead to a root of the bundle.

    Raises ValueError. Validity in time is not judged here: the box's clock may be wrong.
    """
    if not chain_der or not bundle_der:
        raise ValueError("the chain or the bundle is empty")
    leaf, *issuers = [x509.load_der_x509_certificate(each) for each in chain_der]
    roots = [x509.load_der_x509_certificate(each) for each in bundle_der]
    if leaf.public_key() != _load(key_pem, secret).public_key():
        raise ValueError("the certificate is not for our key")
    if not all(map(_may_sign, [*issuers, *roots])):
        raise ValueError("an issuer is not a certificate authority")
    _check_path([leaf, *issuers], roots)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise ValueError("the certificate is not for TLS clients")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        "uris": names.get_values_for_type(x509.UniformResourceIdentifier),
        "not_before_unix_nano": int(leaf.not_valid_before_utc.timestamp()) * 1_000_000_000,
        "not_after_unix_nano": int(leaf.not_valid_after_utc.timestamp()) * 1_000_000_000,
    }


def sign(key_pem: bytes, text: bytes, secret: bytes = b"") -> bytes:
    """Raises ValueError when the key doesn't open or is no EC key."""
    return _load(key_pem, secret).sign(text, ec.ECDSA(hashes.SHA256()))


def _may_sign(certificate: x509.Certificate) -> bool:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _check_path(path: list[x509.Certificate], roots: list[x509.Certificate]) -> None:
    for issued, issuer in pairwise(path):
        _check_issued(issued, issuer)
    if path[-1] in roots:
        return
    for root in roots:
        if root.subject == path[-1].issuer:
            _check_issued(path[-1], root)
            return
    raise ValueError("the chain does not lead to a root of the bundle")


def _check_issued(issued: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError) as error:
        raise ValueError("a signature in the chain is wrong") from error


def _answer(verb: str, key_file: Path, rest: list[str], stdin: bytes) -> bytes:
    if verb == "make":
        return make(key_file, rest[0], stdin)
    key_pem = key_file.read_bytes()
    if verb == "request":
        return request(key_pem, rest[0], stdin)
    if verb == "open":
        return unlocked(key_pem, stdin)
    asked = json.loads(stdin)
    secret = asked["secret"].encode()
    if verb == "sign":
        return sign(key_pem, base64.b64decode(asked["text"]), secret)
    chain, bundle = ([base64.b64decode(each) for each in asked[part]] for part in ("chain", "bundle"))
    return json.dumps(check(key_pem, chain, bundle, secret)).encode()


def main(argv: list[str]) -> int:
    verb, key_file, *rest = argv
    try:
        sys.stdout.buffer.write(_answer(verb, Path(key_file), rest, sys.stdin.buffer.read()))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return DISK
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
