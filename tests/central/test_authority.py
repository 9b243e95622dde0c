from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from central.authority import BACKDATE, Authority, key_pem, make_issuing, make_root, new_key, pem
from central.names import NodeName

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    root = make_root("shop.example", NOW)
    return Authority(root.certificate, make_issuing("shop.example", root, NOW))


def leaf_and_chain(authority: Authority) -> tuple[x509.Certificate, list[x509.Certificate]]:
    issued = authority.issue_node(NodeName("s", "n"), new_key().public_key(), NOW)
    leaf, *chain = (x509.load_der_x509_certificate(der) for der in issued.chain_der)
    return leaf, chain


def test_a_nodes_chain_is_sound_for_an_independent_verifier_while_it_lasts(authority: Authority) -> None:
    leaf, chain = leaf_and_chain(authority)

    def verify(moment: datetime) -> None:
        PolicyBuilder().store(Store([authority.root])).time(moment).build_client_verifier().verify(leaf, chain)

    verify(NOW)
    verify(NOW - BACKDATE + timedelta(seconds=1))
    with pytest.raises(VerificationError):
        verify(NOW + timedelta(days=30, seconds=1))
    with pytest.raises(VerificationError):
        verify(NOW - BACKDATE - timedelta(seconds=1))


def test_each_leaf_can_do_its_own_and_no_more(authority: Authority) -> None:
    node, _ = leaf_and_chain(authority)
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    for certificate, usages in (
        (node, [client, server]),
        (authority.issue_operator("admin", NOW).certificate, [client]),
        (authority.issue_server(NOW).certificate, [server]),
    ):
        extensions = certificate.extensions
        assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
        assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def test_central_is_found_by_any_address(authority: Authority) -> None:
    certificate = authority.issue_server(NOW).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["central.shop.example", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://shop.example/central"]


def test_an_authority_is_read_back_from_its_files(authority: Authority) -> None:
    issuing = authority.issuing
    again = Authority.load(pem(authority.root), pem(issuing.certificate), key_pem(issuing.key))
    assert (again.domain, again.fingerprint) == ("shop.example", authority.fingerprint)
    with pytest.raises(ValueError, match="PEM"):
        Authority.load(b"", b"", b"")
