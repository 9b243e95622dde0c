"""A short-lived process that is the store's device CA, so that neither its key nor cryptography is in the daemon.

Run by ca.py as a file, with -I: stdlib and cryptography only, nothing of ours. Exit 3 = the input is refused,
4 = the disk; one line on stderr says why. Each verb takes the CA's home and the broker's directory as arguments and
a JSON object on stdin, with "now_unix_nano" in it, and answers with another on stdout; bytes are base64 of DER.

    ensure {"dns", "addresses", "revoked"}            {"ca", "server_not_after_unix_nano", "changed"}
    check  {"wishes": [{"device", "csr", "days"}]}    {}
    issue  the same; no csr = the key is made here    {"ca", "certificates": [{"certificate", "key", "serial",
                                                       "not_after_unix_nano"}]}
    crl    {"revoked": [hex]}                         {}
"""

import base64
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

REFUSED, DISK = 3, 4

# Everything begins here: a box or a device without a clock battery may wake in an earlier year than it slept.
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
EARLIEST = datetime(2026, 11, 1, tzinfo=UTC)  # this was written; a clock that says less is wrong
CA_DAYS = 20 * 365
SERVER_DAYS = 397
_PEM, _DER = serialization.Encoding.PEM, serialization.Encoding.DER


class Authority:
    """The CA's key and certificate in `home` (0700)."""

    def __init__(self, home: Path, now: datetime) -> None:
        """Makes what is missing. Raises ValueError when the key is broken, OSError."""
        key_file, certificate_file = home / "key.pem", home / "ca.pem"
        if not os.path.lexists(key_file):
            write(key_file, pem_of(ec.generate_private_key(ec.SECP256R1())), 0o600)
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError("not an EC key")  # noqa: TRY004, TRY301 - a wrong file, not a wrong type in code
        except (ValueError, TypeError) as error:
            raise ValueError(f"{key_file} is broken: restore it, or remove {home} to begin anew ({error})") from error
        self.key = key
        known = certificate_in(certificate_file)
        if known is None or known.public_key() != key.public_key():
            known = self._own(now)
            write(certificate_file, known.public_bytes(_PEM), 0o600)
        self.certificate = known

    def certify(
        self,
        public: CertificatePublicKeyTypes,
        name: str,
        not_after: datetime,
        usage: x509.ObjectIdentifier,
        names: list[x509.GeneralName],
    ) -> x509.Certificate:
        """Signed, from BEGIN to `not_after` or the CA's own end."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(min(not_after, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_use(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def crl(self, serials: set[int], now: datetime) -> x509.CertificateRevocationList:
        """It ends with the CA: OpenSSL refuses everybody once a CRL is out of date."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(BEGIN)
            .next_update(self.certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for serial in sorted(serials):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(BEGIN).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256())

    def issued(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _own(self, now: datetime) -> x509.Certificate:
        """Always of the same name for the same key, so that what was issued stays good when the file was lost."""
        public = self.key.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"store device CA {identifier.digest.hex()[:8]}")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_use(signs=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def ensure(authority: Authority, broker: Path, asked: dict[str, Any], now: datetime) -> dict[str, Any]:
    """What the broker needs in `broker`; only what is missing, broken, old or differs is written."""
    changed = False
    ca_pem = authority.certificate.public_bytes(_PEM)
    if content(broker / "ca.crt") != ca_pem:
        write(broker / "ca.crt", ca_pem, 0o644)
        changed = True
    names = server_names(asked["dns"], asked["addresses"])
    server, key = certificate_in(broker / "server.crt"), key_in(broker / "server.key")
    if key is None:
        key, changed = ec.generate_private_key(ec.SECP256R1()), True
        write(broker / "server.key", pem_of(key), 0o640)
    if server is None or server.public_key() != key.public_key() or not serves(authority, server, names, now):
        until = now + timedelta(days=SERVER_DAYS)
        name = asked["dns"][0][:64]
        server = authority.certify(key.public_key(), name, until, ExtendedKeyUsageOID.SERVER_AUTH, names)
        write(broker / "server.crt", server.public_bytes(_PEM), 0o644)
        changed = True
    changed = put_crl(authority, broker, asked["revoked"], now) or changed
    ends = int(server.not_valid_after_utc.timestamp()) * 1_000_000_000
    return {
        "ca": coded(authority.certificate.public_bytes(_DER)),
        "server_not_after_unix_nano": ends,
        "changed": changed,
    }


def serves(authority: Authority, server: x509.Certificate, names: list[x509.GeneralName], now: datetime) -> bool:
    """Whether it is ours, has a third of its life left, and every name the box has now."""
    left = server.not_valid_after_utc - now
    try:
        known = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return authority.issued(server) and left > timedelta(days=SERVER_DAYS) / 3 and set(names) <= set(known)


def put_crl(authority: Authority, broker: Path, revoked: list[str], now: datetime) -> bool:
    """Whether it had to be written."""
    path, serials = broker / "revoked.crl", {int(each, 16) for each in revoked}
    try:
        known = x509.load_pem_x509_crl(content(path))
        if known.is_signature_valid(authority.key.public_key()) and {each.serial_number for each in known} == serials:
            return False
    except ValueError:
        pass  # missing or broken
    write(path, authority.crl(serials, now).public_bytes(_PEM), 0o644)
    return True


def issue(authority: Authority, wishes: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    publics = [requested(wish) for wish in wishes]
    certificates: list[dict[str, Any]] = []
    for wish, public in zip(wishes, publics, strict=True):
        key = None if public else ec.generate_private_key(ec.SECP256R1())
        holder = public or (key.public_key() if key else None)
        assert holder is not None  # noqa: S101  one of the two it is
        until = now + timedelta(days=wish["days"])
        issued = authority.certify(holder, wish["device"], until, ExtendedKeyUsageOID.CLIENT_AUTH, [])
        certificates.append(
            {
                "certificate": coded(issued.public_bytes(_DER)),
                "key": coded(private(key, _DER)) if key else "",
                "serial": f"{issued.serial_number:x}",
                "not_after_unix_nano": int(issued.not_valid_after_utc.timestamp()) * 1_000_000_000,
            }
        )
    return {"ca": coded(authority.certificate.public_bytes(_DER)), "certificates": certificates}


def requested(wish: dict[str, Any]) -> CertificatePublicKeyTypes | None:
    """The key of a CSR; None when it has none. Of the rest only another name than the device's matters.

    Raises ValueError that names the device.
    """
    if not wish["csr"]:
        return None
    device = wish["device"]
    try:
        csr = x509.load_der_x509_csr(base64.b64decode(wish["csr"]))
        public, signed = csr.public_key(), csr.is_signature_valid
        names = [each.value for each in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except Exception as error:  # a device wrote it: InvalidVersion and TypeError are of what the library says, too
        raise ValueError(f"{device}: not a certificate request in DER ({error})") from error
    if not signed:
        raise ValueError(f"{device}: the request isn't signed by its own key")
    if any(name != device for name in names):
        raise ValueError(f"{device}: the request is for {names[0]!r}")
    match public:
        case ec.EllipticCurvePublicKey() if isinstance(public.curve, ec.SECP256R1 | ec.SECP384R1):
            return public
        case rsa.RSAPublicKey() if 2048 <= public.key_size <= 4096:
            return public
        case ed25519.Ed25519PublicKey():
            return public
        case _:
            raise ValueError(f"{device}: the key must be P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits")


def server_names(dns: list[str], addresses: list[str]) -> list[x509.GeneralName]:
    return [*(x509.DNSName(name) for name in dns), *(x509.IPAddress(ip_address(each)) for each in addresses)]


def _use(*, digital_signature: bool = False, signs: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def private(key: ec.EllipticCurvePrivateKey, encoding: serialization.Encoding) -> bytes:
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return private(key, _PEM)


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def content(path: Path) -> bytes:
    """Empty when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def certificate_in(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(content(path))
    except ValueError:
        return None


def key_in(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(content(path), None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, also over a power cut; the directory's group stays its group (setgid)."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(home: Path) -> Generator[None]:
    """One at a time: the daemon and `edge-agent broker prepare` may both be at it."""
    home.mkdir(mode=0o700, exist_ok=True)
    directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def answer(verb: str, home: Path, broker: Path, asked: dict[str, Any]) -> dict[str, Any]:
    now = max(EARLIEST, datetime.fromtimestamp(asked["now_unix_nano"] // 1_000_000_000, UTC))
    with locked(home):
        authority = Authority(home, now)
        match verb:
            case "ensure":
                return ensure(authority, broker, asked, now)
            case "issue":
                return issue(authority, asked["wishes"], now)
            case "check":
                for wish in asked["wishes"]:
                    requested(wish)
                return {}
            case _:
                put_crl(authority, broker, asked["revoked"], now)
                return {}


def main(argv: list[str]) -> int:
    verb, home, broker = argv
    try:
        json.dump(answer(verb, Path(home), Path(broker), json.load(sys.stdin)), sys.stdout)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return DISK
    except (ValueError, UnsupportedAlgorithm) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
