"""agent/identity/signing.py."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import StorageError
from agent.identity.signing import sign
from tests.fakes.authority import NODE_ID, Fleet


async def test_a_text_is_signed_by_the_key_of_the_certificate_in_force(tmp_path: Path) -> None:
    identity = await Fleet().identity(tmp_path)
    certificate_der, signature = await sign(identity.directory, b"the text")
    certificate = x509.load_der_x509_certificate(certificate_der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [NODE_ID]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, b"the text", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"another text", ec.ECDSA(hashes.SHA256()))


async def test_without_an_identity_nothing_is_signed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"chain\.pem"):
        await sign(tmp_path, b"x")
