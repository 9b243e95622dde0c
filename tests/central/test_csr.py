from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from central.authority import Authority, make_issuing, make_root
from central.csr import public_key
from central.names import NodeName
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


def test_a_request_that_says_a_thing_twice_is_refused() -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ID)])
    said = x509.Extension(names.oid, False, names)
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]), [said, said])
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    with pytest.raises(RefusedError) as caught:
        public_key(request.public_bytes(serialization.Encoding.DER), ID)
    assert caught.value.reason == "CSR_INVALID"


def test_what_else_a_request_asks_for_is_not_in_the_certificate() -> None:
    """Authority takes the key alone: a wish to be a CA, a server or somebody's DNS name is not even looked at."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = [x509.UniformResourceIdentifier(ID), x509.DNSName("central.shop.example")]
    request = (
        x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "central")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    root = make_root("shop.example", now)
    authority = Authority(root.certificate, make_issuing("shop.example", root, now))
    wanted = public_key(request.public_bytes(serialization.Encoding.DER), ID)
    issued = authority.issue_node(NodeName("s", "n"), wanted, now)
    leaf = x509.load_der_x509_certificate(issued.chain_der[0])
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == [ID]
    assert "central.shop.example" not in found.get_values_for_type(x509.DNSName)
