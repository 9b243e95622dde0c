"""The certificate authority: an offline root, and the issuing CA that central holds. EC P-256 throughout.

Not Ed25519: gRPC's TLS stack can't handshake with such leaves.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from central import names
from central.names import NodeName

ROOT_LIFE = timedelta(days=20 * 365)
ISSUING_LIFE = timedelta(days=5 * 365)
SERVER_LIFE = timedelta(days=30)
NODE_LIFE = timedelta(days=30)
OPERATOR_LIFE = timedelta(days=365)
BACKDATE = timedelta(hours=1)  # boards without a battery-backed clock start behind


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """A leaf, as it is handed out."""

    chain_der: tuple[bytes, ...]  # leaf first, then the issuing CA
    serial: str
    not_after_unix_nano: int


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def serial_text(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:040x}"


def unix_nano(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: str, public_key: ec.EllipticCurvePublicKey, issuer: x509.Name, life: timedelta, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(subject))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _make_ca(subject: str, domain: str, issuer: Pair | None, path_length: int, life: timedelta, now: datetime) -> Pair:
    key = new_key()
    signer = issuer.key if issuer else key
    certificate = (
        _builder(subject, key.public_key(), issuer.certificate.subject if issuer else _subject(subject), life, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(
            # X509-SVID 3.1: a signing certificate names its trust domain.
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Pair(certificate, key)


def make_root(domain: str, now: datetime) -> Pair:
    return _make_ca(f"Store edge root, {domain}", names.check_domain(domain), None, 1, ROOT_LIFE, now)


def make_issuing(domain: str, root: Pair, now: datetime) -> Pair:
    return _make_ca(f"Store edge issuing, {domain}", domain, root, 0, ISSUING_LIFE, now)


class Authority:
    """The issuing CA at work. `root` is what everybody trusts."""

    def __init__(self, root: x509.Certificate, issuing: Pair) -> None:
        self.root = root
        self.issuing = issuing
        self.domain = _domain_of(root)
        self.fingerprint = hashlib.sha256(der(root)).hexdigest()

    @classmethod
    def load(cls, root_pem: bytes, issuing_pem: bytes, issuing_key_pem: bytes) -> "Authority":
        """Raises ValueError for anything but an EC authority."""
        key = serialization.load_pem_private_key(issuing_key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the issuing key is not EC")  # noqa: TRY004 - a wrong file, not a wrong type in code
        root = x509.load_pem_x509_certificate(root_pem)
        return cls(root, Pair(x509.load_pem_x509_certificate(issuing_pem), key))

    def issue_node(self, name: NodeName, public_key: ec.EllipticCurvePublicKey, now: datetime) -> Issued:
        """A client of central, and the server of its own AgentService port."""
        leaf = self._leaf(
            str(name),
            public_key,
            [
                x509.UniformResourceIdentifier(names.node_id(self.domain, name)),
                x509.DNSName(names.node_host(self.domain, name)),
            ],
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            NODE_LIFE,
            now,
        )
        chain = (der(leaf), der(self.issuing.certificate))
        return Issued(chain, serial_text(leaf), unix_nano(leaf.not_valid_after_utc))

    def issue_operator(self, name: str, now: datetime) -> Pair:
        key = new_key()
        uri = x509.UniformResourceIdentifier(names.operator_id(self.domain, name))
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        return Pair(self._leaf(name, key.public_key(), [uri], usage, OPERATOR_LIFE, now), key)

    def issue_server(self, now: datetime) -> Pair:
        """Central's own leaf. Its key is never written down: each start, and half-life, makes a new one."""
        key = new_key()
        alternatives: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(names.central_id(self.domain)),
            x509.DNSName(names.server_name(self.domain)),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
        ]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH]
        return Pair(self._leaf("central", key.public_key(), alternatives, usage, SERVER_LIFE, now), key)

    def _leaf(
        self,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        alternatives: list[x509.GeneralName],
        usage: list[x509.ObjectIdentifier],
        life: timedelta,
        now: datetime,
    ) -> x509.Certificate:
        issuer_key = self.issuing.key.public_key()
        return (
            _builder(subject, public_key, self.issuing.certificate.subject, life, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .sign(self.issuing.key, hashes.SHA256())
        )


def _domain_of(root: x509.Certificate) -> str:
    try:
        alternatives = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ValueError("the root certificate names no trust domain") from error
    uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise ValueError("the root certificate must name one trust domain")
    return names.check_domain(uris[0].removeprefix("spiffe://"))


def moment(wall_unix_nano: int) -> datetime:
    return datetime.fromtimestamp(wall_unix_nano / 1e9, UTC)
