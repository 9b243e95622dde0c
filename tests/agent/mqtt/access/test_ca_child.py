"""agent/mqtt/access/ca_child.py."""

import base64
import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.mqtt.access import ca_child

NOW = datetime(2027, 1, 1, tzinfo=UTC)
NAMES = {"dns": ["box", "box.local"], "addresses": ["127.0.0.1", "10.0.0.5", "::1"]}


class Box:
    """A state directory and the broker's."""

    def __init__(self, directory: Path) -> None:
        self.home, self.broker = directory / "device-ca", directory / "broker"
        self.broker.mkdir()

    def ask(self, verb: str, now: datetime = NOW, **asked: Any) -> dict[str, Any]:
        return ca_child.answer(verb, self.home, self.broker, {**asked, "now_unix_nano": int(now.timestamp()) * 10**9})

    def ensure(self, now: datetime = NOW, revoked: tuple[str, ...] = (), **names: Any) -> dict[str, Any]:
        return self.ask("ensure", now, revoked=list(revoked), **{**NAMES, **names})

    def server(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.broker / "server.crt").read_bytes())

    def ca(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.broker / "ca.crt").read_bytes())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def wish(key: Any, device: str = "gate", name: str | None = None, digest: Any = None) -> dict[str, Any]:
    subject = [] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, digest)
    der = request.public_bytes(serialization.Encoding.DER)
    return {"device": device, "csr": base64.b64encode(der).decode(), "days": 730}


def test_a_new_box_gets_a_ca_of_twenty_years_a_server_certificate_and_an_empty_crl(box: Box) -> None:
    answer = box.ensure()
    ca, server = box.ca(), box.server()
    assert answer["changed"] and base64.b64decode(answer["ca"]) == ca.public_bytes(serialization.Encoding.DER)
    assert ca.not_valid_after_utc - NOW == timedelta(days=7300)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["box", "box.local"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.0.0.5", "::1"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (*box.broker.iterdir(), *box.home.iterdir())}
    assert (modes["server.key"], modes["key.pem"], modes["ca.crt"]) == (0o640, 0o600, 0o644)
    assert box.home.stat().st_mode & 0o777 == 0o700
    crl = x509.load_pem_x509_crl((box.broker / "revoked.crl").read_bytes())
    assert len(list(crl)) == 0 and crl.next_update_utc == ca.not_valid_after_utc


def test_nothing_is_written_twice_and_each_loss_is_made_good(box: Box) -> None:
    box.ensure()
    assert not box.ensure()["changed"]
    ca, server = box.ca(), box.server()
    for name in ("ca.crt", "server.crt", "revoked.crl"):
        (box.broker / name).unlink()
        assert box.ensure()["changed"] and not box.ensure()["changed"]
    assert box.ca() == ca and box.server() != server
    (box.broker / "server.key").write_text("torn")
    assert box.ensure()["changed"]
    key = serialization.load_pem_private_key((box.broker / "server.key").read_bytes(), None)
    assert key.public_key() == box.server().public_key()


def test_a_ca_certificate_that_was_lost_comes_back_with_its_name_and_key(box: Box) -> None:
    issued = box.ask("issue", wishes=[{"device": "d", "csr": "", "days": 1}])
    before = x509.load_der_x509_certificate(base64.b64decode(issued["ca"]))
    (box.home / "ca.pem").unlink()
    box.ensure()
    assert (box.ca().subject, box.ca().public_key()) == (before.subject, before.public_key())
    leaf = x509.load_der_x509_certificate(base64.b64decode(issued["certificates"][0]["certificate"]))
    leaf.verify_directly_issued_by(box.ca())


def test_the_server_certificate_is_renewed_with_a_third_of_its_life_left_and_for_a_new_address(box: Box) -> None:
    box.ensure()
    key = (box.broker / "server.key").read_bytes()
    assert not box.ensure(NOW + timedelta(days=250))["changed"]
    assert not box.ensure(addresses=["127.0.0.1"])["changed"], "an address that has gone hurts nobody"
    assert box.ensure(addresses=["192.168.1.9"])["changed"]
    assert box.ensure(NOW + timedelta(days=270), addresses=["192.168.1.9"])["changed"]
    assert (box.broker / "server.key").read_bytes() == key


def test_a_broken_ca_key_is_refused_and_not_replaced(box: Box) -> None:
    box.ensure()
    (box.home / "key.pem").write_text("torn")
    with pytest.raises(ValueError, match="restore it"):
        box.ensure()
    ed25519_pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (box.home / "key.pem").write_bytes(ed25519_pem)
    with pytest.raises(ValueError, match="not an EC key"):
        box.ensure()


def test_a_device_certificate_names_the_device_and_serves_clients_only(box: Box) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = box.ask("issue", wishes=[wish(key, name="gate", digest=hashes.SHA256())])["certificates"][0]
    leaf = x509.load_der_x509_certificate(base64.b64decode(issued["certificate"]))
    assert [each.value for each in leaf.subject] == ["gate"]
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert leaf.not_valid_after_utc == NOW + timedelta(days=730) and leaf.not_valid_before_utc.year == 2020
    assert (int(issued["serial"], 16), issued["key"]) == (leaf.serial_number, "")
    assert leaf.public_key() == key.public_key()


def test_a_key_made_here_is_that_of_its_certificate_and_is_not_kept(box: Box) -> None:
    issued = box.ask("issue", wishes=[{"device": "gate", "csr": "", "days": 1}])["certificates"][0]
    key = serialization.load_der_private_key(base64.b64decode(issued["key"]), None)
    leaf = x509.load_der_x509_certificate(base64.b64decode(issued["certificate"]))
    assert key.public_key() == leaf.public_key()
    assert sorted(path.name for path in box.home.iterdir()) == ["ca.pem", "key.pem"]


def test_a_clock_of_1970_makes_no_certificate_that_has_ended_already(box: Box) -> None:
    issued = box.ask("issue", datetime(1970, 1, 2, tzinfo=UTC), wishes=[{"device": "d", "csr": "", "days": 30}])
    assert issued["certificates"][0]["not_after_unix_nano"] > int(ca_child.EARLIEST.timestamp()) * 10**9


def test_no_certificate_outlives_the_ca(box: Box) -> None:
    box.ensure()
    late = box.ask("issue", NOW + timedelta(days=7000), wishes=[{"device": "d", "csr": "", "days": 3650}])
    assert late["certificates"][0]["not_after_unix_nano"] == int(box.ca().not_valid_after_utc.timestamp()) * 10**9


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_that_are_taken(box: Box, key: Any) -> None:
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    assert box.ask("check", wishes=[wish(key, digest=digest)]) == {}


def test_requests_that_are_refused_name_the_device(box: Box) -> None:
    good = wish(ec.generate_private_key(ec.SECP256R1()), digest=hashes.SHA256())
    der = bytearray(base64.b64decode(good["csr"]))
    der[-1] ^= 1
    flaws = {
        "isn't signed": {**good, "csr": base64.b64encode(bytes(der)).decode()},
        "not a certificate request": {**good, "csr": "AAAA"},
        "for 'other'": wish(ec.generate_private_key(ec.SECP256R1()), name="other", digest=hashes.SHA256()),
        "must be P-256": wish(ec.generate_private_key(ec.SECP521R1()), digest=hashes.SHA256()),
        "2048 to 4096": wish(rsa.generate_private_key(65537, 1024), digest=hashes.SHA256()),
    }
    for why, each in flaws.items():
        for verb in ("check", "issue"):
            with pytest.raises(ValueError, match="gate: ") as refusal:
                box.ask(verb, wishes=[good | {"device": "fine"}, each])
            assert why in str(refusal.value)


@pytest.mark.parametrize("at", ["version", "name"])
def test_a_request_that_the_library_itself_stumbles_over_is_refused_all_the_same(box: Box, at: str) -> None:
    good = wish(ec.generate_private_key(ec.SECP256R1()), name="gate", digest=hashes.SHA256())
    der = base64.b64decode(good["csr"])
    bad = {
        "version": der.replace(b"\x02\x01\x00", b"\x02\x01\x03", 1),  # InvalidVersion is no ValueError
        "name": der.replace(b"\x0c\x04gate", b"\x03\x04\x00abc", 1),  # a BIT STRING: TypeError
    }[at]
    assert bad != der
    with pytest.raises(ValueError, match="gate: not a certificate request"):
        box.ask("check", wishes=[{**good, "csr": base64.b64encode(bad).decode()}])


def test_the_crl_lists_what_is_revoked_and_no_more(box: Box) -> None:
    box.ensure()
    box.ask("crl", revoked=["ab", "1f"])
    crl = x509.load_pem_x509_crl((box.broker / "revoked.crl").read_bytes())
    assert sorted(each.serial_number for each in crl) == [0x1F, 0xAB]
    assert not box.ensure(revoked=("1f", "ab"))["changed"]
    assert box.ensure()["changed"], "what isn't revoked any more is taken off"


def test_how_it_ends_says_what_went_wrong(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(verb: str, home: Path, asked: dict[str, Any]) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"now_unix_nano": 0, **asked})))
        return ca_child.main([verb, str(home), str(box.broker)])

    assert end("issue", box.home, {"wishes": []}) == 0
    assert json.loads(capsys.readouterr().out)["certificates"] == []
    assert end("check", box.home, {"wishes": [{"device": "d", "csr": "AAAA", "days": 1}]}) == ca_child.REFUSED
    assert "d: not a certificate request" in capsys.readouterr().err
    assert end("issue", box.home / "no" / "where", {"wishes": []}) == ca_child.DISK
