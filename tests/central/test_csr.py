import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from central.csr import public_key
from central.refusal import RefusedError

ID = "spiffe://shop.example/store/s/node/n"


def csr(key: CertificateIssuerPrivateKeyTypes, uris: tuple[str, ...] = (ID,)) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_the_key_is_taken_from_a_request_that_names_its_node_or_nobody() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert public_key(csr(key), ID) == key.public_key()
    assert public_key(csr(key, ()), ID) == key.public_key()


@pytest.mark.parametrize("uris", [("spiffe://shop.example/store/s/node/m",), (ID, "spiffe://shop.example/central")])
def test_a_request_for_another_name_is_refused(uris: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError) as caught:
        public_key(csr(ec.generate_private_key(ec.SECP256R1()), uris), ID)
    assert caught.value.reason == "CSR_WRONG_NODE"


def test_other_keys_foreign_signatures_and_noise_are_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    sound = csr(key)
    forged = sound[:-4] + bytes(4)
    small = rsa.generate_private_key(65537, 2048)
    for wrong in (b"", b"x" * 5000, b"\x30\x03", csr(ec.generate_private_key(ec.SECP384R1())), csr(small), forged):
        with pytest.raises(RefusedError) as caught:
            public_key(wrong, ID)
        assert caught.value.reason == "CSR_INVALID"
