"""agent/identity/keychild.py."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from agent.identity import keychild
from central.authority import der, key_pem
from tests.fakes.authority import NODE_ID, Fleet, now


@pytest.fixture
def request_der(tmp_path: Path) -> bytes:
    return keychild.make(tmp_path / "key.pem", NODE_ID)


def test_a_request_is_signed_by_a_new_p256_key_that_only_its_owner_may_read(tmp_path: Path, request_der: bytes) -> None:
    csr = x509.load_der_x509_csr(request_der)
    key = csr.public_key()
    assert csr.is_signature_valid
    assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [NODE_ID]
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert keychild.make(tmp_path / "other.pem", NODE_ID) != request_der


def test_a_key_is_never_written_over_another_nor_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        keychild.make(tmp_path / "key.pem", NODE_ID)
    assert not (tmp_path / "elsewhere").exists()


def test_a_good_chain_tells_its_names_and_dates(tmp_path: Path, request_der: bytes) -> None:
    fleet = Fleet()
    facts = keychild.check((tmp_path / "key.pem").read_bytes(), fleet.certify(request_der), fleet.bundle)
    assert facts["uris"] == [NODE_ID]
    life = facts["not_after_unix_nano"] - facts["not_before_unix_nano"]
    assert timedelta(days=29).total_seconds() < life / 1e9 < timedelta(days=31).total_seconds()


def test_dates_are_not_judged_because_the_clock_of_a_box_may_be_wrong(tmp_path: Path, request_der: bytes) -> None:
    fleet = Fleet()
    old = fleet.certify(request_der, age=timedelta(days=400))
    assert keychild.check((tmp_path / "key.pem").read_bytes(), old, fleet.bundle)["uris"] == [NODE_ID]


def test_every_flaw_of_a_chain_is_refused_with_its_reason(tmp_path: Path, request_der: bytes) -> None:
    fleet, other = Fleet(), Fleet()
    key = (tmp_path / "key.pem").read_bytes()
    leaf, issuing = fleet.certify(request_der)
    server = fleet.authority.issue_server(now())
    forged = other.certify(request_der)[0]
    flaws = {
        "is empty": (key, [], fleet.bundle),
        "empty": (key, [leaf, issuing], []),
        "not for our key": (key, fleet.certify(keychild.make(tmp_path / "x.pem", NODE_ID)), fleet.bundle),
        "a signature in the chain is wrong": (key, [forged, issuing], fleet.bundle),
        "signature": (key, [leaf, issuing], other.bundle),
        "does not lead to a root": (key, [leaf, issuing], Fleet("else.example").bundle),
        "issuer is not a certificate authority": (key, [leaf, leaf], fleet.bundle),
        "not for TLS clients": (key_pem(server.key), [der(server.certificate), issuing], fleet.bundle),
    }
    for reason, (pem, chain, bundle) in flaws.items():
        with pytest.raises(ValueError, match=reason):
            keychild.check(pem, chain, bundle)
    with pytest.raises(ValueError, match="parsing"):
        keychild.check(key, [b"no certificate"], fleet.bundle)


def test_a_locked_key_opens_with_its_secret_only(tmp_path: Path) -> None:
    fleet, file = Fleet(), tmp_path / "key.pem"
    csr = keychild.make(file, NODE_ID, b"secret")
    pem, chain = file.read_bytes(), fleet.certify(csr)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert keychild.check(pem, chain, fleet.bundle, b"secret")["uris"] == [NODE_ID]
    assert keychild.sign(pem, b"text", b"secret")
    assert keychild.request(pem, NODE_ID, b"secret")
    assert keychild.unlocked(pem, b"secret").startswith(b"-----BEGIN PRIVATE KEY-----")
    for wrong in (b"", b"another"):
        with pytest.raises(ValueError, match=r"secret|password|decrypt"):
            keychild.check(pem, chain, fleet.bundle, wrong)


def test_a_secret_that_the_key_does_not_need_is_no_hindrance(tmp_path: Path, request_der: bytes) -> None:
    """A box whose machine got its TPM after it was enrolled: locked at the next renewal."""
    assert keychild.sign((tmp_path / "key.pem").read_bytes(), b"text", b"secret")


def test_a_root_may_be_sent_along(tmp_path: Path, request_der: bytes) -> None:
    fleet = Fleet()
    chain = [*fleet.certify(request_der), *fleet.bundle]
    assert keychild.check((tmp_path / "key.pem").read_bytes(), chain, fleet.bundle)["uris"] == [NODE_ID]
