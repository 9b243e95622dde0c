"""What a certificate request must be. Central takes the public key from it and nothing else."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from central.refusal import refused

MAX_BYTES = 4096


def public_key(csr_der: bytes, spiffe_id: str) -> ec.EllipticCurvePublicKey:
    """The key to certify for `spiffe_id`.

    Raises RefusedError: CSR_INVALID (not a self-signed PKCS#10 with an EC P-256 key), CSR_WRONG_NODE (names another).
    """
    if not 0 < len(csr_der) <= MAX_BYTES:
        raise refused("CSR_INVALID", f"csr_der: 1..{MAX_BYTES} bytes")
    try:
        csr = x509.load_der_x509_csr(csr_der)
        key = csr.public_key()
        signed = csr.is_signature_valid
        names = _uris(csr)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise refused("CSR_INVALID", "csr_der: not a PKCS#10 request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise refused("CSR_INVALID", "csr_der: the key must be EC P-256")
    if not signed:
        raise refused("CSR_INVALID", "csr_der: not signed with the key it names")
    if names and names != [spiffe_id]:
        raise refused("CSR_WRONG_NODE", f"csr_der names {names[0][:200]}, not {spiffe_id}")
    return key


def _uris(csr: x509.CertificateSigningRequest) -> list[str]:
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
