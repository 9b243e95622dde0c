"""Whether a usage seal is the node's: its signature, and the way from its certificate to the CA."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from central.bill import seal_text
from central.ledger import Trust
from storeedge.v1.record_pb2 import UsageSeal

_LEAVES = 1000  # remembered; a node could send any number of them


@dataclass(frozen=True, slots=True)
class _Leaf:
    uris: list[str]
    key: ec.EllipticCurvePublicKey


class Trusted:
    """The CA that a domain's nodes have their certificates from.

    Dates are not judged: a box's clock may be wrong, and a bill is looked at long after its certificate has ended.
    """

    def __init__(self, root: x509.Certificate, issuing: list[x509.Certificate]) -> None:
        """`issuing` are certificates that may stand between; those that the root didn't issue count for nothing."""
        self._leaves: dict[bytes, _Leaf | str] = {}
        self._issuers = [root, *(each for each in issuing if _issued(each, root) and _is_authority(each))]

    def of(self, node_id: str) -> Trust:
        """The check of one node's seals."""
        return lambda seal: self.fault(seal, node_id)

    def fault(self, seal: UsageSeal, node_id: str) -> str | None:
        """What is wrong with a seal that is to be of the node with this SPIFFE id; None when nothing is."""
        # A node seals 2000 times with one certificate.
        leaf = self._leaves.get(seal.certificate_der)
        if leaf is None:
            if len(self._leaves) >= _LEAVES:
                self._leaves.clear()
            leaf = self._leaves[seal.certificate_der] = self._leaf(seal.certificate_der)
        if isinstance(leaf, str):
            return leaf
        if leaf.uris != [node_id]:
            return f"signed by another node, {', '.join(leaf.uris)[:200]}"
        try:
            leaf.key.verify(seal.signature, seal_text(seal), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return "its signature is wrong: forged, or what it signs was altered"
        return None

    def _leaf(self, certificate_der: bytes) -> _Leaf | str:
        """What a seal's certificate says, or why it counts for nothing."""
        try:
            leaf = x509.load_der_x509_certificate(certificate_der)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            key = leaf.public_key()
        except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm):
            return "what should be its certificate is none"
        if not any(_issued(leaf, issuer) for issuer in self._issuers):
            return "its certificate is not from this CA"
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return "its certificate holds no EC key"
        return _Leaf(names.get_values_for_type(x509.UniformResourceIdentifier), key)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        return False
